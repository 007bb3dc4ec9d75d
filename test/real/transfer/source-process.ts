/** The agent's export as a process: its order is the argument. */
import { startExport } from '../../../agent/export/serve.ts';
import { answerTo, type SourceOrder } from './ends.ts';

const order = JSON.parse(process.argv[2] ?? '') as SourceOrder;
const session = startExport({ ...order, token: Buffer.from(order.token, 'hex') });
// It shows in `status`.
session.mapped.catch(() => {});
await answerTo('serving', { status: () => session.status() });
