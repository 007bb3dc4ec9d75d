/** What every kind of snapshot must do, whatever it is made of. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import type { SnapshotProvider } from '../../../agent/snapshot/provider.ts';
import { Memory } from '../../../native/memory.ts';
import { atEnd } from './at-end.ts';
import type { TestDisk } from './disks.ts';

export interface Subject {
  name: string;
  /** A provider that can see the disks. */
  provider(disks: readonly TestDisk[]): SnapshotProvider;
  /** A fresh disk with this content (whole MiB), removed after the test. */
  disk(t: TestContext, content: Buffer): TestDisk;
  /** Makes a snapshot of the disk impossible, until the test ends. */
  occupy(t: TestContext, disk: TestDisk): void;
}

const MIB = 1024 * 1024;

/** As an earlier snapshot of a disk of these tests has told it. */
const was = (identity: string) => ({ sizeBytes: 2 * MIB, identity });

function content(seed: number): Buffer {
  const bytes = Buffer.alloc(2 * MIB);
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761 + seed) >>> 0, at);
  return bytes;
}

/** Registers the suite for one kind. */
export function snapshotContract(subject: Subject): void {
  const { name } = subject;
  const provider = (disks: readonly TestDisk[]): SnapshotProvider => subject.provider(disks);
  const disk = (t: TestContext, bytes: Buffer): TestDisk => subject.disk(t, bytes);
  void test(`snapshot ${name}: reads what stood on every disk, and says since when`, async (t) => {
    const contents = [content(1), content(2)];
    const disks = contents.map((bytes) => disk(t, bytes));
    const names = disks.map((each) => each.name);
    const before = Date.now();
    assert.equal(await provider(disks).canSnapshot(names), undefined);
    const snapshot = await provider(disks).create(names);
    atEnd(t, () => snapshot.release());
    assert.equal(snapshot.provider, name);
    assert.ok(Date.parse(snapshot.timestamp) >= before && Date.parse(snapshot.timestamp) <= Date.now());
    assert.deepEqual(
      snapshot.disks.map((each) => [each.disk, each.sizeBytes]),
      names.map((each) => [each, 2 * MIB]),
    );
    names.forEach((each, index) => {
      const device = snapshot.open(each);
      const memory = new Memory(2 * MIB);
      try {
        assert.equal(device.sizeBytes, 2 * MIB);
        device.preadFull(memory.address, 2 * MIB, 0);
        assert.ok(contents[index]?.equals(memory.bytes));
        assert.throws(() => device.pwriteFull(memory.address, 4096, 0), { code: 'EBADF' });
      } finally {
        device.close();
        memory.free();
      }
    });
  });

  void test(`snapshot ${name}: a disk is recognised by serial, size, beginning and end`, async (t) => {
    const bytes = content(3);
    const first = disk(t, bytes);
    const identityOf = async (each: TestDisk): Promise<string | undefined> => {
      const snapshot = await provider([each]).create([each.name]);
      await snapshot.release();
      return snapshot.disks[0]?.identity;
    };
    const identity = await identityOf(first);
    const expected = createHash('sha256').update(`${first.serial}\n${bytes.length}\n`);
    expected.update(`0-${MIB}\n`).update(bytes.subarray(0, MIB));
    expected.update(`${bytes.length - MIB}-${bytes.length}\n`).update(bytes.subarray(-MIB));
    assert.equal(identity, expected.digest('hex'));
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
    assert.notEqual(await identityOf({ ...disk(t, bytes), serial: first.serial }), identity);
    assert.equal(await identityOf(first), identity);
    assert.notEqual(await identityOf({ ...first, serial: 'other' }), identity);
    assert.notEqual(await identityOf(disk(t, content(4))), identity);
  });

  void test(`snapshot ${name}: disks that the kernel named otherwise are found by their identity, and keep the job's names`, async (t) => {
    const [a, b, other] = [disk(t, content(20)), disk(t, content(21)), disk(t, content(22))];
    const disks = [a, b, other];
    const before = [a.name, b.name];
    const first = await provider(disks).create(before);
    await first.release();
    const [idA = '', idB = ''] = first.disks.map(({ identity }) => identity);
    // a and b have changed places; then b has the name of a disk that is not there any more.
    const swapped = await provider(disks).create(before, { [a.name]: was(idB), [b.name]: was(idA) });
    assert.deepEqual(
      swapped.disks.map(({ disk: each, path, identity }) => [each, path, identity]),
      [
        [a.name, `/dev/${b.name}`, idB],
        [b.name, `/dev/${a.name}`, idA],
      ],
    );
    const device = swapped.open(a.name);
    const memory = new Memory(2 * MIB);
    try {
      device.preadFull(memory.address, 2 * MIB, 0);
      assert.ok(content(21).equals(memory.bytes));
    } finally {
      device.close();
      memory.free();
      await swapped.release();
    }
    const moved = await provider([other, b]).create([a.name], { [a.name]: was(idB) });
    await moved.release();
    assert.deepEqual(
      moved.disks.map(({ disk: each, path }) => [each, path]),
      [[a.name, `/dev/${b.name}`]],
    );
  });

  void test(`snapshot ${name}: disks of one identity keep their names, and one that is nowhere is the one of its name`, async (t) => {
    const blank = Buffer.alloc(2 * MIB);
    const twins = [disk(t, blank), disk(t, blank)].map((each) => ({ ...each, serial: '' }));
    const names = twins.map((each) => each.name);
    const first = await provider(twins).create(names);
    await first.release();
    const earlier = Object.fromEntries(first.disks.map(({ disk: each, identity }) => [each, was(identity)]));
    assert.equal(new Set(first.disks.map(({ identity }) => identity)).size, 1);
    const again = await provider(twins.toReversed()).create(names, earlier);
    await again.release();
    assert.deepEqual(again.disks, first.disks);
    const lost = await provider(twins).create(names, { [names[1] ?? '']: was('f'.repeat(64)) });
    await lost.release();
    assert.deepEqual(lost.disks, first.disks);
    // One of them went away, and its name with it: the other one is not taken for both.
    await assert.rejects(provider(twins.slice(0, 1)).create(names, earlier), {
      code: 'SNAPSHOT_REFUSED',
      message: /no disk/,
    });
  });

  void test(`snapshot ${name}: a name that this machine does not have is refused, and never becomes a path`, async (t) => {
    const known = disk(t, content(5));
    for (const wrong of ['nosuchdisk', '../etc/passwd', '']) {
      assert.match(String(await provider([known]).canSnapshot([wrong])), /no disk/);
      await assert.rejects(provider([known]).create([known.name, wrong]), {
        code: 'SNAPSHOT_REFUSED',
        message: /no disk/,
      });
    }
    // Nothing of the refused ones is held.
    await (await provider([known]).create([known.name])).release();
  });

  void test(`snapshot ${name}: a disk in use is refused with the reason, the others are let go`, async (t) => {
    const [free, busy] = [disk(t, content(6)), disk(t, content(7))];
    subject.occupy(t, busy);
    const names = [free.name, busy.name];
    assert.match(String(await provider([free, busy]).canSnapshot(names)), new RegExp(busy.name));
    await assert.rejects(provider([free, busy]).create(names), {
      code: 'SNAPSHOT_REFUSED',
      message: new RegExp(busy.name),
    });
    await (await provider([free]).create([free.name])).release();
  });

  void test(`snapshot ${name}: after the release nothing can be opened, and a second release is no error`, async (t) => {
    const only = disk(t, content(8));
    const snapshot = await provider([only]).create([only.name]);
    assert.throws(() => snapshot.open('other'), { code: 'NOT_FOUND' });
    await snapshot.release();
    await snapshot.release();
    assert.throws(() => snapshot.open(only.name), { code: 'NOT_FOUND' });
  });
}
