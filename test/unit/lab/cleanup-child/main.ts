/**
 * Registers three undos, the second of which fails, and waits (`main.ts wait`) or ends (`main.ts end`). What it waits for breaks
 * when the third is undone, as work does when its tools are taken away; with `main.ts close` the work then closes by itself what
 * has to be closed, and takes its time.
 */
import { onExit, runCleanups } from '../../../lab/cleanup.ts';

const [, , mode] = process.argv;
let fail: (error: Error) => void = () => undefined;
const first = onExit('first', async () => {
  await new Promise((resolve) => setTimeout(resolve, mode === 'close' ? 500 : 10));
  console.log('undone first');
});
onExit('second', () => {
  throw new Error('refused');
});
onExit('third', async () => {
  fail(new Error('the work broke'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  console.log('undone third');
});
const undo = onExit('in time', () => console.log('undone in time'));
await undo();
await undo();
console.log('ready');
if (mode !== 'end') {
  setInterval(() => undefined, 60_000);
  const work = new Promise((_, reject) => {
    fail = reject;
  });
  if (mode === 'wait') await work;
  try {
    await work;
  } catch {
    await first();
    await runCleanups();
    process.exit(1);
  }
}
