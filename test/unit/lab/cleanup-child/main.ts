/**
 * Registers three undos, the second of which fails, and waits (`main.ts wait`) or ends (`main.ts end`). What it waits for breaks
 * when the third is undone, as work does when its tools are taken away.
 */
import { onExit } from '../../../lab/cleanup.ts';

let fail: (error: Error) => void = () => undefined;
onExit('first', async () => {
  await new Promise((resolve) => setTimeout(resolve, 10));
  console.log('undone first');
});
onExit('second', () => {
  throw new Error('refused');
});
onExit('third', () => {
  fail(new Error('the work broke'));
  console.log('undone third');
});
const undo = onExit('in time', () => console.log('undone in time'));
await undo();
await undo();
console.log('ready');
if (process.argv[2] === 'wait') {
  setInterval(() => undefined, 60_000);
  await new Promise((_, reject) => {
    fail = reject;
  });
}
