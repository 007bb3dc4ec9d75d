import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import { BLOCK_BYTES } from '../../../appliance/api/transfer.ts';
import { Board } from '../../../receiver/copy/board.ts';
import { Journal } from '../../../receiver/copy/journal.ts';
import { Pace } from '../../../receiver/copy/pace.ts';
import { makePlan, type Plan } from '../../../receiver/copy/plan.ts';
import { SessionFlags } from '../../../receiver/copy/shared.ts';
import { Tender } from '../../../receiver/copy/tender.ts';
import { NullTarget } from '../../../receiver/target/null.ts';

const SIZE = 2 * BLOCK_BYTES;

/** A target whose next flush fails once with this code, as a kernel tells a failure: the one after it succeeds. */
class Forgetful extends NullTarget {
  fails: (() => never) | undefined;
  flushes = 0;

  override flush(): void {
    this.flushes++;
    const fails = this.fails;
    this.fails = undefined;
    fails?.();
  }
}

/** Two blocks that are written, and who tends them. */
function scene(pace = new Pace()) {
  const shown: boolean[] = [];
  class Flags extends SessionFlags {
    override check(): void {
      shown.push(pace.standing && pace.full);
      super.check();
    }
  }
  const flags = new Flags();
  const target = new Forgetful(SIZE);
  const recorded: number[] = [];
  const journal = {
    notes: { snapshot: '', bad: [] },
    note: () => {},
    record: (_plan: Plan, blocks: readonly number[]) => recorded.push(...blocks),
  } as unknown as Journal;
  const tender = new Tender({ target, journal, flags, pace, snapshot: '', flushEveryMs: 5000 });
  const board = Board.create(makePlan(SIZE, Float64Array.of(0, SIZE), SIZE, undefined));
  const write = (): void => {
    for (let block = board.take(1); block !== undefined; block = board.take(1)) {
      board.done(block, new Uint8Array(16).fill(1), 0);
    }
  };
  write();
  return { tender, board, target, flags, pace, recorded, shown, write };
}

const full = (): never => {
  throw new RehostError('POOL_FULL', 'full');
};

void test('tender: what a flush without room may have lost is copied again, while nobody asks for more', () => {
  const { tender, board, target, recorded, shown, write, pace } = scene();
  target.fails = full;
  const report = tender.obey({ kind: 'flush', board: board.shared });
  assert.deepEqual(report.kind === 'write-failed' ? [report.command, report.error.code] : report.kind, [
    'flush',
    'POOL_FULL',
  ]);
  assert.deepEqual([board.open, board.flushedBytes, board.copiedBytes, recorded], [true, 0, 0, []]);
  // The first look is that of the order itself.
  assert.ok(shown.length > 2 && shown.slice(1).every(Boolean));
  assert.equal(pace.standing, false);
  write();
  assert.equal(tender.obey({ kind: 'flush', board: board.shared }).kind, 'flushed');
  assert.deepEqual([board.flushedBytes, recorded], [SIZE, [0, 1]]);
});

void test('tender: a failure is not forgotten when the copy is stopped during the wait for room', () => {
  const { tender, board, target, flags, recorded } = scene();
  target.fails = () => {
    flags.stop();
    return full();
  };
  assert.equal(tender.obey({ kind: 'flush', board: board.shared }).kind, 'write-failed');
  assert.equal(board.open, true);
  // One that waited in line behind it would succeed.
  assert.equal(tender.obey({ kind: 'flush', board: board.shared }).kind, 'fatal');
  assert.deepEqual([target.flushes, board.flushedBytes, recorded], [1, 0, []]);
});

void test('tender: a failed write or flush is told at once, another fault ends the copy', () => {
  for (const [code, kind] of [
    ['TARGET_WRITE_FAILED', 'write-failed'],
    ['INTERNAL', 'fatal'],
  ] as const) {
    const { tender, board, target, pace, recorded } = scene();
    target.fails = () => {
      throw new RehostError(code, 'no');
    };
    assert.equal(tender.obey({ kind: 'zero-holes', board: board.shared }).kind, kind);
    assert.deepEqual([board.open, recorded, pace.full], [kind === 'write-failed', [], false]);
  }
});

void test('journal: one that finds no room to begin leaves no memory behind', () => {
  class Full extends NullTarget {
    closed = 0;
    override write(): void {
      full();
    }
    override close(): void {
      this.closed++;
    }
    override read(address: number, _offset: number, length: number): void {
      void [address, length];
    }
  }
  const kib = (): number => Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
  const order = { jobId: 'abc', snapshot: '', disks: [{ disk: 'sda', sizeBytes: SIZE, identity: '' }] };
  const before = kib();
  for (let i = 0; i < 200; i++) {
    const target = new Full(1024 * 1024 * 1024);
    assert.throws(() => Journal.open(target, order, 0), { code: 'POOL_FULL' });
    assert.equal(target.closed, 1);
  }
  assert.ok(kib() - before < 50 * 1024, `${kib() - before} KiB more`);
});
