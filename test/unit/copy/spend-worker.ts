/** Thread that spends bytes at a pace, and says when it began and ended (ns of the monotonic clock). */
import { parentPort, workerData } from 'node:worker_threads';
import { Pace, type PaceShared } from '../../../receiver/copy/pace.ts';

const { pace, bytes, step } = workerData as { pace: PaceShared; bytes: number; step: number };
const shared = new Pace(pace);
const start = process.hrtime.bigint();
for (let done = 0; done < bytes; done += step) shared.spend(step, () => {});
parentPort?.postMessage([start, process.hrtime.bigint()]);
