/** Thread that reads blocks back and compares their hashes. It shares the blocks with others and ends when none is left. */
import { parentPort } from 'node:worker_threads';
import { RehostError, toWire } from '../../appliance/api/errors.ts';
import { REHOST_HASH_BYTES } from '../../appliance/api/nbd.ts';
import { assignment } from '../../appliance/api/threads.ts';
import { BLOCK_BYTES } from '../../appliance/api/transfer.ts';
import { isZero } from '../../native/bytes.ts';
import { Memory } from '../../native/memory.ts';
import { xxh3At } from '../../native/xxhash.ts';
import { openTarget } from '../target/open.ts';
import type { Target } from '../target/target.ts';
import { Pace } from './pace.ts';
import { ALIGN_BYTES, blockLength, blockOffset, eachHole, hashOf, type Plan } from './plan.ts';
import { SessionFlags, Stopped } from './shared.ts';
import { VerifyCounters, type VerifyReport, type VerifyWork } from './verify-shared.ts';

/** Holes are shared out among the threads in parts of this; where they are not read in full, each part gives one sample, bytes. */
const PART_BYTES = 64 * 1024 * 1024;

const work = await assignment<VerifyWork>();
const flags = new SessionFlags(work.flags);
const pace = new Pace(work.pace);
const counters = new VerifyCounters(work.disks.length, work.counters);
const memory = new Memory(BLOCK_BYTES);
const hash = new Memory(REHOST_HASH_BYTES);

/** Waits while the verification is paused, and gives up when it is stopped. */
function check(): void {
  flags.check();
  pace.waitWhileStanding(() => flags.check());
}

function mismatch(disk: string, offset: number, length: number, what: string): RehostError {
  return new RehostError('VERIFY_MISMATCH', `Disk '${disk}', ${length} bytes at ${offset}: ${what}.`);
}

function checkBlocks(index: number, disk: string, plan: Plan, target: Target): void {
  for (;;) {
    check();
    const block = counters.take(index);
    if (block >= plan.count) return;
    const offset = blockOffset(plan, block);
    const length = blockLength(plan, block);
    target.read(memory.address, offset, length);
    xxh3At(memory.address, length, hash.view, 0);
    if (Buffer.compare(hash.bytes.subarray(0, REHOST_HASH_BYTES), hashOf(plan, block)) !== 0) {
      throw mismatch(disk, offset, length, 'the replica differs from what the source sent');
    }
    counters.checked(index, length);
  }
}

function auditHoles(disk: string, plan: Plan, target: Target): void {
  const expectZeros = (at: number, length: number): void => {
    target.read(memory.address, at, length);
    if (!isZero(memory, 0, length)) throw mismatch(disk, at, length, 'it should read as zeros');
  };
  let part = 0;
  eachHole(plan, (start, end) => {
    for (let at = start; at < end; at += PART_BYTES) {
      if (part++ % work.threads !== work.thread) continue;
      const stop = Math.min(end, at + PART_BYTES);
      for (let from = at; from < stop; from += BLOCK_BYTES) {
        check();
        const length = Math.min(BLOCK_BYTES, stop - from);
        if (work.fullHoles) expectZeros(from, length);
        else if (from === at) expectZeros(at, Math.min(ALIGN_BYTES, length));
        counters.audited(length);
      }
      // The hole's last block as well.
      if (!work.fullHoles && stop === end && end - at > ALIGN_BYTES) {
        const last = end - (((end - 1) % ALIGN_BYTES) + 1);
        expectZeros(last, end - last);
      }
    }
  });
}

function run(): VerifyReport {
  try {
    work.disks.forEach(({ disk, target: spec, plan }, index) => {
      const target = openTarget(spec);
      try {
        target.dropCaches();
        checkBlocks(index, disk, plan, target);
        auditHoles(disk, plan, target);
      } finally {
        target.close();
      }
    });
    return { kind: 'done' };
  } catch (error) {
    return error instanceof Stopped ? { kind: 'done' } : { kind: 'failed', error: toWire(error) };
  } finally {
    memory.free();
    hash.free();
  }
}

parentPort?.postMessage(run());
