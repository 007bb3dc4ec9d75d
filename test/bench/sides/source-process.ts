/** The agent's export in a process of its own, told by messages what to serve. */
import { type ExportSession, startExport } from '../../../agent/export/serve.ts';
import type { SourceOrder } from './orders.ts';
import { failed, obey, report } from './report.ts';
import { servePlain } from './serve-plain.ts';

let session: ExportSession | undefined;

obey<SourceOrder>((order) => {
  switch (order.kind) {
    case 'export':
      session = startExport(order.options);
      session.mapped.catch(failed);
      break;
    case 'serve-plain':
      report({ kind: 'listening', port: servePlain(order) });
      break;
    case 'stop':
      (session?.stop() ?? Promise.resolve()).then(() => report({ kind: 'closed' }), failed);
      break;
  }
});
