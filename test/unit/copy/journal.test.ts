import assert from 'node:assert/strict';
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import {
  decodeJournalHead,
  encodeJournalHead,
  type JournalHead,
  journalLayout,
} from '../../../appliance/api/journal.ts';
import { Board } from '../../../receiver/copy/board.ts';
import { Journal, type JournalOrder, readJournal } from '../../../receiver/copy/journal.ts';
import { makePlan, planFromList } from '../../../receiver/copy/plan.ts';
import { recordedDisks } from '../../../receiver/copy/recorded.ts';
import { openTarget } from '../../../receiver/target/open.ts';
import type { Target } from '../../../receiver/target/target.ts';

const folder = mkdtempSync(join(tmpdir(), 'rehost-journal-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const MIB = 1024 * 1024;
const BLOCK = 4 * MIB;
const SLOT = 32 * 1024;
const ORDER: JournalOrder = {
  jobId: 'job0001',
  snapshot: 'first',
  disks: [
    { disk: 'sda', sizeBytes: 300 * BLOCK + 512, identity: 'a' },
    { disk: 'sdb', sizeBytes: 2 * BLOCK, identity: 'b' },
  ],
};
let serial = 0;

/** A volume full of what was there before. */
function volume(bytes = MIB): string {
  const path = join(folder, `journal-${serial++}`);
  const fd = openSync(path, 'w');
  writeSync(fd, Buffer.alloc(bytes, 0xdb));
  ftruncateSync(fd, bytes);
  closeSync(fd);
  return path;
}

const target = (path: string): Target => openTarget({ kind: 'device', path });

function overwrite(path: string, offset: number, bytes: Buffer): void {
  const fd = openSync(path, 'r+');
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

/** Runs with a disk's section and closes it. */
function using<T>(path: string, run: (journal: Journal) => T, index = 0, order = ORDER): T {
  const journal = Journal.open(target(path), order, index);
  try {
    return run(journal);
  } finally {
    journal.close();
  }
}

/** A board on which blocks are written and flushed, with the hash 0x40 + block. */
function flushed(journal: Journal, blocks: readonly number[], board = boardOf()): Board {
  for (const block of blocks) board.done(block, new Uint8Array(16).fill(0x40 + (block % 128)), 0);
  board.flush(
    () => {},
    (done) => journal.record(board.plan, done),
  );
  return board;
}

function boardOf(): Board {
  const { sizeBytes = 0 } = ORDER.disks[0] ?? {};
  return Board.create(makePlan(sizeBytes, Float64Array.from([0, sizeBytes])));
}

describe('journal layout', () => {
  it('has a head and whole pages for each disk, in whole MiB', () => {
    // 301 blocks of 16 bytes are 4816 bytes: two pages.
    assert.deepEqual(journalLayout(ORDER.disks), {
      sections: [
        { head: 0, list: 65536, end: 65536 + 8192 },
        { head: 73728, list: 73728 + 65536, end: 73728 + 65536 + 4096 },
      ],
      sizeBytes: MIB,
    });
    const large = journalLayout([{ sizeBytes: 16 * 1024 ** 4 }]);
    assert.equal(large.sizeBytes, 65 * MIB, '16 TiB are 4 Mi blocks of 16 bytes, and a head');
  });
});

describe('journal head', () => {
  const head: JournalHead = {
    sequence: 5,
    jobId: 'job0001',
    disk: 'sda',
    sizeBytes: 7,
    identity: 'é',
    snapshot: 'later',
    bad: [1, 2],
  };
  const newer = { ...head, sequence: 6, snapshot: 'first' };
  const empty = Buffer.alloc(SLOT);
  const slots = (a: Buffer, b: Buffer): Buffer => Buffer.concat([a, b]);

  it('is the newer of two whole ones', () => {
    const [a, b] = [encodeJournalHead(head), encodeJournalHead(newer)];
    assert.equal(a.length, SLOT);
    assert.deepEqual(decodeJournalHead(slots(a, b)), newer);
    assert.deepEqual(decodeJournalHead(slots(b, a)), newer);
    assert.deepEqual(decodeJournalHead(slots(empty, a)), head);
  });

  it('is the other one when one is torn at any sector, and none when both are', () => {
    const whole = encodeJournalHead(head);
    const bad = Array.from({ length: 1000 }, (_, i) => i * 4096);
    const long = encodeJournalHead({ ...newer, bad });
    const length = long.indexOf(0, 60);
    for (let at = 0; at < length; at += 512) {
      const torn = Buffer.concat([long.subarray(0, at), encodeJournalHead({ ...head, sequence: 4 }).subarray(at)]);
      const found = decodeJournalHead(slots(torn, whole));
      assert.deepEqual(found, head, `torn at ${at}`);
      if (at > 0) assert.equal(decodeJournalHead(slots(torn, empty)), undefined);
    }
    assert.equal(decodeJournalHead(slots(empty, empty)), undefined);
    assert.equal(decodeJournalHead(slots(Buffer.alloc(SLOT, 0xff), Buffer.alloc(SLOT, 0x20))), undefined);
  });

  it('is none when its fields are not what they should be, although the checksum is right', () => {
    const wrong: object[] = [{ sequence: -1 }, { sizeBytes: 1.5 }, { jobId: 7 }, { snapshot: 1 }, { bad: [1, 'x'] }];
    wrong.push({ bad: Array.from({ length: 1002 }, () => 0) }, { disk: undefined });
    for (const change of wrong) {
      const slot = encodeJournalHead({ ...head, ...change });
      assert.equal(decodeJournalHead(slots(slot, empty)), undefined, JSON.stringify(change));
    }
  });

  it('has room for as many unreadable ranges as a disk of 16 TiB may have, and refuses more', () => {
    const bad = Array.from({ length: 1000 }, (_, i) => 16 * 1024 ** 4 - i);
    assert.deepEqual(decodeJournalHead(slots(encodeJournalHead({ ...head, bad }), empty))?.bad, bad);
    const more = { ...head, identity: 'x'.repeat(SLOT) };
    assert.throws(() => encodeJournalHead(more), { code: 'REQUEST_INVALID', message: /room for \d+ bytes/ });
  });
});

describe('journal', () => {
  it('forgets what was on its volume, and keeps what is recorded', () => {
    const path = volume();
    using(path, (journal) => {
      assert.ok(journal.list().every((byte) => byte === 0));
      assert.deepEqual([journal.notes.snapshot, journal.notes.bad], ['first', []]);
      const board = flushed(journal, [0, 255, 256, 300]);
      flushed(journal, [1], board);
      journal.note({ bad: [4096, 512] });
      journal.note({ snapshot: 'later' });
    });
    using(path, (journal) => {
      assert.deepEqual([journal.notes.snapshot, journal.notes.bad], ['later', [4096, 512]]);
      const recorded = planFromList(ORDER.disks[0]?.sizeBytes ?? 0, journal.list());
      assert.deepEqual([...recorded.numbers], [0, 1, 255, 256, 300]);
      assert.equal(journal.list()[300 * 16], 0x40 + (300 % 128));
    });
    using(path, (journal) => assert.ok(journal.list().every((byte) => byte === 0)), 1);
  });

  it('has not noted what could not be written: it is written with the next note', () => {
    const path = volume();
    const device = openTarget({ kind: 'device', path });
    let broken = false;
    const failing: Target = {
      sizeBytes: device.sizeBytes,
      sectorBytes: device.sectorBytes,
      write: (address, offset, length) => {
        if (broken) throw new Error('EIO');
        device.write(address, offset, length);
      },
      zero: (offset, length) => device.zero(offset, length),
      flush: () => device.flush(),
      dropCaches: () => device.dropCaches(),
      read: (address, offset, length) => device.read(address, offset, length),
      close: () => device.close(),
    };
    const journal = Journal.open(failing, ORDER, 0);
    broken = true;
    assert.throws(() => journal.note({ bad: [4096, 512] }), /EIO/);
    assert.deepEqual(journal.notes.bad, []);
    broken = false;
    journal.note({ bad: [4096, 512] });
    journal.close();
    using(path, (again) => assert.deepEqual(again.notes.bad, [4096, 512]));
  });

  it('has its last note but one when the last was torn, with the list as it is', () => {
    const path = volume();
    using(path, (journal) => {
      flushed(journal, [7]);
      journal.note({ bad: [0, 512] });
      journal.note({ snapshot: 'later' });
    });
    const now = readFileSync(path);
    const newest = decodeJournalHead(now.subarray(0, 2 * SLOT))?.sequence ?? 0;
    overwrite(path, (newest % 2) * SLOT + 100, Buffer.from('torn'));
    using(path, (journal) => {
      assert.deepEqual([journal.notes.snapshot, journal.notes.bad], ['first', [0, 512]]);
      assert.equal(journal.list()[7 * 16], 0x47);
      journal.note({ snapshot: 'later' });
    });
    using(path, (journal) => assert.equal(journal.notes.snapshot, 'later'));
  });

  it('begins anew when both heads are torn: nothing of the list is believed', () => {
    const path = volume();
    using(path, (journal) => flushed(journal, [7]));
    for (const slot of [0, 1]) overwrite(path, slot * SLOT, Buffer.alloc(17));
    using(path, (journal) => assert.ok(journal.list().every((byte) => byte === 0)));
  });

  const [sda, sdb] = ORDER.disks;
  assert.ok(sda && sdb);
  const others: [string, JournalOrder, string, RegExp][] = [
    ['of another job', { ...ORDER, jobId: 'job0002' }, 'REQUEST_INVALID', /that of job 'job0001', not of 'job0002'/],
    ['of another disk', { ...ORDER, disks: [{ ...sda, disk: 'sdc' }, sdb] }, 'SOURCE_CHANGED', /'sdc' is not the one/],
    [
      'of another state of the disk',
      { ...ORDER, disks: [{ ...sda, identity: 'c' }, sdb] },
      'SOURCE_CHANGED',
      /'sda' is not the one/,
    ],
    [
      'of a disk of another size',
      { ...ORDER, disks: [{ ...sda, sizeBytes: sda.sizeBytes - 512 }, sdb] },
      'SOURCE_CHANGED',
      /'sda' is not the one/,
    ],
  ];
  for (const [name, order, code, message] of others) {
    it(`is refused when it is that ${name}, and stays as it is`, () => {
      const path = volume();
      using(path, (journal) => flushed(journal, [3]));
      const before = readFileSync(path);
      assert.throws(() => Journal.open(target(path), order, 0), { code, message });
      assert.ok(readFileSync(path).equals(before));
    });
  }

  it('is refused when its volume is too small', () => {
    const path = volume(MIB - 4096);
    assert.throws(() => Journal.open(target(path), ORDER, 0), {
      code: 'REQUEST_INVALID',
      message: /1044480 bytes; 1048576 are needed/,
    });
  });

  it('is handed on in parts that are the volume itself, up to its last section', () => {
    const path = volume();
    for (const index of [0, 1]) using(path, (journal) => journal.note({ snapshot: 'later' }), index);
    const opened = target(path);
    const parts: Buffer[] = [];
    let offset = 5;
    for (let part = readJournal(opened, ORDER, offset); part.length > 0; part = readJournal(opened, ORDER, offset)) {
      parts.push(part);
      offset += part.length;
    }
    opened.close();
    assert.equal(offset, 73728 + 65536 + 4096);
    assert.ok(Buffer.concat(parts).equals(readFileSync(path).subarray(5, offset)));
  });

  it('is only read for a verification: one that is not there is an error, and nothing is written', () => {
    const disks = ORDER.disks.map((disk) => ({ ...disk, target: { kind: 'null', sizeBytes: 2 ** 40 } as const }));
    const path = volume();
    const before = readFileSync(path);
    assert.throws(() => recordedDisks(path, ORDER.jobId, disks), {
      code: 'REQUEST_INVALID',
      message: /nothing of disk 'sda'/,
    });
    assert.ok(readFileSync(path).equals(before));
    using(path, (journal) => flushed(journal, [3]));
    using(path, (journal) => journal.note({ snapshot: 'later' }), 1);
    const copy = join(folder, 'copy');
    copyFileSync(path, copy);
    const [first, second] = recordedDisks(path, ORDER.jobId, disks);
    assert.deepEqual([first?.plan.count, second?.plan.count], [1, 0]);
    assert.ok(readFileSync(path).equals(readFileSync(copy)));
  });
});
