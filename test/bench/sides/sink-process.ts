/** The receiver in a process of its own, told by messages what to copy. */
import { CONNECTIONS_DEFAULT } from '../../../appliance/api/transfer.ts';
import { type CopySession, startCopy, startPull } from '../../../receiver/copy/copy.ts';
import { prepareThreads } from '../../../receiver/copy/thread.ts';
import type { SinkOrder } from './orders.ts';
import { failed, obey, report } from './report.ts';

/** How often the copy's own status is looked at, ms. */
const LOOK_MS = 2;

function follow(session: CopySession): void {
  report({ kind: 'listening', port: session.port });
  const timer = setInterval(() => {
    const { progress, error } = session.status();
    if (progress === 'running') return;
    clearInterval(timer);
    if (progress === 'done') report({ kind: 'done' });
    else failed(new Error(error?.message ?? `the copy is ${progress}`));
  }, LOOK_MS);
  session.finished.then(() => report({ kind: 'closed' }), failed);
}

obey<SinkOrder>(prepareThreads(CONNECTIONS_DEFAULT), (order) =>
  follow(order.kind === 'copy' ? startCopy(order.options) : startPull(order.options)),
);
