/** Registers three undos, the second of which fails, and waits for a signal (`main.ts wait`) or ends (`main.ts end`). */
import { onExit } from '../../../lab/cleanup.ts';

onExit('first', async () => {
  await new Promise((resolve) => setTimeout(resolve, 10));
  console.log('undone first');
});
onExit('second', () => {
  throw new Error('refused');
});
onExit('third', () => console.log('undone third'));
const undo = onExit('in time', () => console.log('undone in time'));
await undo();
await undo();
if (process.argv[2] === 'wait') setInterval(() => undefined, 60_000);
console.log('ready');
