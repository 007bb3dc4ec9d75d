/** The witness must itself be able to say no: it is shown equal disks, disks that differ in free blocks, and disks that differ in used ones. */
import assert from 'node:assert/strict';
import { copyFile, mkdtemp, open, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { compareUsed, freeRanges } from '../../e2e/witness.ts';
import { run } from '../../lab/command.ts';

const MIB = 1024 * 1024;
const EXT4_AT = 1 * MIB;
const SWAP_AT = 41 * MIB;

async function twoDisks(t: TestContext): Promise<{ source: string; replica: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-witness-'));
  t.after(() => rm(folder, { recursive: true }));
  const source = join(folder, 'source.raw');
  await writeFile(source, '');
  await truncate(source, 64 * MIB);
  await run(['sfdisk', '-q', source], {
    input: `label: gpt\nstart=${EXT4_AT / 512}, size=${(40 * MIB) / 512}\nstart=${SWAP_AT / 512}, size=${(16 * MIB) / 512}, type=S\n`,
  });
  await run(['mke2fs', '-q', '-t', 'ext4', '-E', `offset=${EXT4_AT}`, source, `${40 * 1024}k`]);
  const swap = join(folder, 'swap.raw');
  await writeFile(swap, Buffer.alloc(16 * MIB));
  await run(['mkswap', '-q', swap]);
  await run(['dd', `if=${swap}`, `of=${source}`, 'bs=1M', `seek=${SWAP_AT / MIB}`, 'conv=notrunc', 'status=none']);
  const replica = join(folder, 'replica.raw');
  await copyFile(source, replica);
  return { source, replica };
}

async function flipByte(path: string, offset: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, offset);
  byte.writeUInt8(byte.readUInt8() ^ 0xff);
  await file.write(byte, 0, 1, offset);
  await file.close();
}

test('witness: equal disks are equal, and free blocks do not count', async (t) => {
  const { source, replica } = await twoDisks(t);
  const free = await freeRanges(source);
  const insideExt4 = free.find((range) => range.offset > EXT4_AT && range.offset < SWAP_AT && range.length > MIB);
  assert.ok(insideExt4, 'a fresh file system has free blocks');
  await flipByte(replica, insideExt4.offset + 4096);
  await flipByte(replica, SWAP_AT + 5 * MIB);
  const result = await compareUsed(source, replica);
  assert.equal(result.replica, result.source);
  assert.ok(result.usedBytes < 30 * MIB);
});

for (const [what, offset] of [
  ['the partition table', 512 + 8],
  ["the file system's superblock", EXT4_AT + 1024 + 120],
  ["the swap header's label", SWAP_AT + 1024 + 20],
  ['the gap behind the last partition', 60 * MIB],
] as const) {
  test(`witness: a flipped byte in ${what} is seen`, async (t) => {
    const { source, replica } = await twoDisks(t);
    await flipByte(replica, offset);
    const result = await compareUsed(source, replica);
    assert.notEqual(result.replica, result.source);
  });
}
