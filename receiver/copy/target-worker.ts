/** Thread for what one disk's target needs beside the pieces: zeros outside of them, and the last flush. */
import { parentPort, workerData } from 'node:worker_threads';
import { toWire } from '../../appliance/api/errors.ts';
import { openTarget } from '../target/open.ts';
import type { Target } from '../target/target.ts';
import { Board } from './board.ts';
import { eachHole } from './plan.ts';
import {
  connectionError,
  type DiskWorkerData,
  SessionFlags,
  Stopped,
  type TargetCommand,
  type TargetReport,
} from './shared.ts';

/** One call zeroes at most this, so that the order to stop is seen between two, bytes. */
const ZERO_STEP_BYTES = 1024 ** 3;

const work = workerData as DiskWorkerData;
const flags = new SessionFlags(work.flags);

function zeroHoles(target: Target, board: Board): void {
  eachHole(board.plan, (start, end) => {
    for (let at = start; at < end; ) {
      flags.check();
      const step = Math.min(ZERO_STEP_BYTES, end - at);
      target.zero(at, step);
      board.holeZeroed(step);
      at += step;
    }
  });
}

function obey(command: Exclude<TargetCommand, { kind: 'end' }>): TargetReport {
  const disk = work.disks[command.disk];
  if (!disk) throw new Error(`There is no disk ${command.disk}.`);
  const target = openTarget(disk.target);
  try {
    const board = new Board(command.board);
    if (command.kind === 'zero-holes') zeroHoles(target, board);
    else board.flush(() => target.flush());
    return { kind: 'done', disk: command.disk };
  } finally {
    target.close();
  }
}

parentPort?.on('message', (command: TargetCommand) => {
  if (command.kind === 'end') {
    parentPort?.close();
    return;
  }
  let report: TargetReport;
  try {
    report = obey(command);
  } catch (error) {
    report = { kind: 'fatal', error: error instanceof Stopped ? connectionError(error) : toWire(error) };
  }
  parentPort?.postMessage(report);
});
