/** The receiver's copy as a process: its order is the argument. */
import { type CopySession, startCopy } from '../../../receiver/copy/copy.ts';
import { startVerify } from '../../../receiver/copy/verify.ts';
import { answerTo, type SinkOrder } from './ends.ts';

const order = JSON.parse(process.argv[2] ?? '') as SinkOrder;
const session = startCopy({ ...order, token: Buffer.from(order.token, 'hex') });
await answerTo(session.port, {
  status: () => session.status(),
  tune: (change) => session.tune(change as Parameters<CopySession['tune']>[0]),
  verify: async () => {
    await session.finished;
    const verify = startVerify(session.copied());
    await verify.finished;
    return verify.status();
  },
});
