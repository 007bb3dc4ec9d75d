/** Thread for what one disk's target needs beside the blocks: zeros outside of them, flushes, and the journal of what these cover. */
import { parentPort } from 'node:worker_threads';
import { RehostError, toWire } from '../../appliance/api/errors.ts';
import { assignment } from '../../appliance/api/threads.ts';
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

const work = await assignment<TargetWork>();
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

/** Whatever an earlier attempt did: its map may have called used what is free by now. Begun again when a write fails meanwhile. */
function zeroHoles(board: Board): void {
  let failures: number;
  do {
    failures = board.failures;
    zeroOnce(board);
    target.flush();
  } while (board.failures !== failures);
}

function zeroOnce(board: Board): void {
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
}

function obey(command: Exclude<TargetCommand, { kind: 'end' }>): TargetReport {
  const board = new Board(command.board);
  switch (command.kind) {
    case 'zero-holes':
      zeroHoles(board);
      return { kind: 'zeroed' };
    case 'flush':
      flush(board);
      return { kind: 'flushed' };
    case 'compared':
      if (work.journal) journal?.note({ snapshot: work.journal.order.snapshot });
      return { kind: 'noted' };
  }
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
    if (error instanceof RehostError && (error.code === 'TARGET_WRITE_FAILED' || error.code === 'POOL_FULL')) {
      // Here and now: the kernel tells a failure once, and a flush that waits in line already would succeed.
      new Board(command.board).distrust();
      report = { kind: 'write-failed', command: command.kind, error: toWire(error) };
    } else report = { kind: 'fatal', error: error instanceof Stopped ? connectionError(error) : toWire(error) };
  }
  parentPort?.postMessage(report);
});
