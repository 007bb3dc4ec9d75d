import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { RehostError } from '../../../appliance/api/errors.ts';
import { CpioReader } from '../../../receiver/convert/linux/cpio.ts';
import { type InitramfsContent, readInitramfs } from '../../../receiver/convert/linux/initramfs-image.ts';
import {
  missingModules,
  parseBuiltIn,
  staleResume,
  withModules,
} from '../../../receiver/convert/linux/initramfs-virtio.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rehost-initramfs-'));
});
after(async () => {
  await rm(folder, { recursive: true });
});

/** An archive of the real cpio program. */
async function archive(files: Record<string, string>): Promise<Buffer> {
  const root = await mkdtemp(join(folder, 'tree-'));
  for (const [path, content] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
  const list = execFileSync('find', ['.', '-mindepth', '1'], { cwd: root });
  return execFileSync('cpio', ['--quiet', '-o', '-H', 'newc'], { cwd: root, input: list, maxBuffer: 64 * 1024 * 1024 });
}

async function read(image: Buffer): Promise<InitramfsContent> {
  const path = join(folder, 'image');
  await writeFile(path, image);
  const file = await open(path);
  try {
    return await readInitramfs(file);
  } finally {
    await file.close();
  }
}

const MICROCODE = { 'kernel/x86/microcode/GenuineIntel.bin': 'x'.repeat(5001) };
const MODULES = 'usr/lib/modules/6.1.0-1-amd64/kernel/drivers';
const MAIN = {
  [`${MODULES}/virtio/virtio-pci.ko.xz`]: 'a',
  [`${MODULES}/block/virtio_blk.ko.zst`]: 'bb',
  [`${MODULES}/net/virtio_net.ko`]: 'ccc',
  'conf/conf.d/resume': 'RESUME=/dev/sda3\n',
  'conf/arch.conf': 'DPKG_ARCH=amd64\n',
  'usr/share/not-a-module.ko': '',
};

void test('initramfs: modules and settings are found behind microcode, in every compression', async () => {
  const early = await archive(MICROCODE);
  const main = await archive(MAIN);
  const compressed: [string, Buffer][] = [
    ['gzip', gzipSync(main)],
    ['zstd', zstdCompressSync(main)],
    ['xz', execFileSync('xz', ['-c', '--check=crc32'], { input: main })],
    ['bzip2', execFileSync('bzip2', ['-c'], { input: main })],
    ['lzma', execFileSync('xz', ['-c', '--format=lzma'], { input: main })],
    ['lz4', execFileSync('lz4', ['-c', '-l', '-'], { input: main })],
  ];
  for (const [name, bytes] of compressed) {
    const content = await read(Buffer.concat([early, Buffer.alloc(1024), bytes]));
    assert.deepEqual([...content.modules].sort(), ['virtio_blk', 'virtio_net', 'virtio_pci'], name);
    assert.deepEqual([...content.settings], [['resume', 'RESUME=/dev/sda3\n']], name);
    assert.deepEqual(content.compressions, [name]);
  }
});

void test('initramfs: uncompressed archives behind each other are all read', async () => {
  const modules = await archive({ [`${MODULES}/scsi/virtio_scsi.ko.xz`]: 'd'.repeat(700_000) });
  const content = await read(Buffer.concat([await archive(MICROCODE), modules, gzipSync(await archive(MAIN))]));
  assert.deepEqual([...content.modules].sort(), ['virtio_blk', 'virtio_net', 'virtio_pci', 'virtio_scsi']);
  const plain = await read(Buffer.concat([modules, await archive(MAIN)]));
  assert.equal(plain.modules.size, 4);
});

void test('initramfs: what is none is refused', async () => {
  const main = await archive(MAIN);
  const broken = Buffer.from(main);
  broken.write('XXXXXX', 0x200, 'latin1');
  const cases: [string, Buffer][] = [
    ['garbage', Buffer.from('this is no initramfs at all')],
    ['cut off', main.subarray(0, 300)],
    ['cut off in gzip', gzipSync(main).subarray(0, 200)],
    ['cut off in xz', execFileSync('xz', ['-c'], { input: main }).subarray(0, 100)],
    ['no cpio in gzip', gzipSync(Buffer.alloc(4096, 'y'))],
    ['long name', Buffer.from(`070701${'00000000'.repeat(11)}00100000${'00000000'}`.padEnd(200, 'z'))],
  ];
  for (const [name, image] of cases) {
    await assert.rejects(
      read(image),
      (error) => error instanceof RehostError && error.code === 'CONVERSION_FAILED',
      name,
    );
  }
});

void test('cpio: the pieces may be cut anywhere', async () => {
  const image = await archive(MAIN);
  for (const size of [1, 3, 109, 110, 111, 4096]) {
    const names: string[] = [];
    const contents: string[] = [];
    const reader = new CpioReader({
      entry: ({ name }) => names.push(name) > 0 && name.startsWith('conf/'),
      content: (_, bytes) => contents.push(bytes.toString()),
    });
    let used = 0;
    for (let at = 0; at < image.length && !reader.ended; at += size) used += reader.push(image.subarray(at, at + size));
    assert.ok(reader.ended);
    assert.ok(names.includes('usr/share/not-a-module.ko'));
    assert.ok(contents.includes('RESUME=/dev/sda3\n'));
    assert.ok(used <= image.length && image.subarray(used).every((byte) => byte === 0));
  }
});

void test('initramfs: what is missing counts built-in drivers as present', () => {
  const content = { modules: new Set(['virtio_blk', 'virtio_net']), settings: new Map(), compressions: [] };
  const builtIn = parseBuiltIn('kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio-pci.ko\n');
  assert.deepEqual(missingModules(content, builtIn), ['virtio_scsi']);
  assert.deepEqual(missingModules(content, new Set()), ['virtio_pci', 'virtio_scsi']);
});

void test('initramfs: a hibernation device by its old name is noticed', () => {
  const content = (text: string): InitramfsContent => ({
    modules: new Set(),
    settings: new Map([['x', text]]),
    compressions: [],
  });
  assert.equal(staleResume(content('RESUME=/dev/sda3\n')), '/dev/sda3');
  assert.equal(staleResume(content('RESUME=UUID=x\n')), undefined);
  assert.equal(staleResume(content('RESUME=none\n')), undefined);
});

void test('initramfs: modules are added once', () => {
  const once = withModules('# x\nahci', ['virtio_blk', 'virtio_net']);
  assert.equal(once, '# x\nahci\nvirtio_blk\nvirtio_net\n');
  assert.equal(withModules(once, ['virtio_blk', 'virtio_net']), once);
  assert.equal(withModules('virtio-blk\n', ['virtio_blk']), 'virtio-blk\n');
});
