/** The agent's export in a process of its own, told by messages what to serve. */

import { type ExportSession, prepareThreads, startExport } from '../../../agent/export/serve.ts';
import { CONNECTIONS_DEFAULT } from '../../../appliance/api/transfer.ts';
import type { SourceOrder } from './orders.ts';
import { failed, obey, report } from './report.ts';
import { servePlain } from './serve-plain.ts';

let session: ExportSession | undefined;

obey<SourceOrder>(prepareThreads(CONNECTIONS_DEFAULT), (order) => {
  switch (order.kind) {
    case 'export':
      session = startExport(order.options);
      session.mapped.catch(failed);
      break;
    case 'serve-plain':
      servePlain(order).then((port) => report({ kind: 'listening', port }), failed);
      break;
    case 'stop':
      (session?.stop() ?? Promise.resolve()).then(() => report({ kind: 'closed' }), failed);
      break;
  }
});
