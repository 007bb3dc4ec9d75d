/** Thread for what one disk's target needs beside the blocks: zeros outside of them, flushes, and the journal of what these cover. */
import { parentPort, workerData } from 'node:worker_threads';
import { RehostError, toWire } from '../../appliance/api/errors.ts';
import { openTarget } from '../target/open.ts';
import type { TargetSpec } from '../target/target.ts';
import { Board } from './board.ts';
import { Journal } from './journal.ts';
import { Pace } from './pace.ts';
import { PatientTarget } from './patient-target.ts';
import { eachHole } from './plan.ts';
import {
  connectionError,
  SessionFlags,
  Stopped,
  type TargetCommand,
  type TargetReport,
  type TargetWork,
} from './shared.ts';

/** One call zeroes at most this, so that the order to stop is seen between two, bytes. */
const ZERO_STEP_BYTES = 1024 ** 3;

const work = workerData as TargetWork;
const flags = new SessionFlags(work.flags);
const pace = new Pace(work.pace);
const target = patient(work.target);
const journal = work.journal
  ? Journal.open(patient({ kind: 'device', path: work.journal.path }), work.journal.order, work.disk)
  : undefined;

function patient(spec: TargetSpec): PatientTarget {
  return new PatientTarget(openTarget(spec), pace, () => flags.check());
}

/** Bad ranges first: a block that has one is never in the journal without it. */
function flush(board: Board): void {
  board.flush(
    () => target.flush(),
    (blocks) => {
      if (!journal || blocks.length === 0) return;
      const bad = board.badRanges().flat();
      if (bad.length !== journal.notes.bad.length) journal.note({ bad });
      journal.record(board.plan, blocks);
    },
  );
}

function zeroHoles(board: Board): void {
  if (journal?.notes.zeroed) return;
  let flushed = performance.now();
  eachHole(board.plan, (start, end) => {
    for (let at = start; at < end; ) {
      flags.check();
      const step = Math.min(ZERO_STEP_BYTES, end - at);
      target.zero(at, step);
      board.holeZeroed(step);
      at += step;
      // On storage without an order for zeros this takes hours, and blocks are written meanwhile.
      if (performance.now() - flushed < work.flushEveryMs) continue;
      flush(board);
      flushed = performance.now();
    }
  });
  target.flush();
  journal?.note({ zeroed: true });
}

function obey(command: Exclude<TargetCommand, { kind: 'end' }>): TargetReport {
  const board = new Board(command.board);
  if (command.kind === 'zero-holes') zeroHoles(board);
  else flush(board);
  return command.kind === 'flush' ? { kind: 'flushed' } : { kind: 'zeroed' };
}

parentPort?.on('message', (command: TargetCommand) => {
  if (command.kind === 'end') {
    journal?.close();
    target.close();
    parentPort?.close();
    return;
  }
  let report: TargetReport;
  try {
    report = obey(command);
  } catch (error) {
    if (error instanceof RehostError && error.code === 'TARGET_WRITE_FAILED') {
      // Here and now: the kernel tells a failure once, and a flush that waits in line already would succeed.
      new Board(command.board).distrust();
      report = { kind: 'write-failed', command: command.kind, error: toWire(error) };
    } else report = { kind: 'fatal', error: error instanceof Stopped ? connectionError(error) : toWire(error) };
  }
  parentPort?.postMessage(report);
});
