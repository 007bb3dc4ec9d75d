/** The orchestrator's parts as the routes see them. server.ts puts them together. */
import type { Hypervisor } from './api/rest.ts';
import type { EventHub } from './events.ts';
import type { JobService } from './job/service.ts';
import type { Log } from './log.ts';
import type { Machines } from './machine/machines.ts';
import type { Receivers } from './machine/receivers.ts';
import type { AuditLog } from './store/audit.ts';
import type { Store } from './store/store.ts';

export interface Orchestrator {
  readonly store: Store;
  readonly audit: AuditLog;
  readonly machines: Machines;
  readonly receivers: Receivers;
  readonly jobs: JobService;
  readonly hypervisors: { views(): Promise<Hypervisor[]> };
  readonly events: EventHub;
  readonly log: Log;
}
