/** The contract of volumes. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { run } from '../../lab/command.ts';
import { type Bench, filled, MIB, qcow2, raw } from './bench.ts';

/** What qemu-img reads in a volume's own header. */
async function imageInfo(path: string, format: string): Promise<Record<string, unknown>> {
  const text = await run(['qemu-img', 'info', '--output', 'json', '-f', format, path]);
  return JSON.parse(text) as Record<string, unknown>;
}

export function volumeContract(bench: () => Bench): void {
  void describe('volumes', () => {
    void it('a raw volume reads as zero and takes no room', async () => {
      const { driver, poolFolder } = bench();
      const made = await driver.createVolume(raw('empty.raw'), 64 * MIB);
      assert.deepEqual(
        { ...made, allocationBytes: 0, modifiedAt: '' },
        {
          ...raw('empty.raw'),
          path: join(poolFolder, 'empty.raw'),
          capacityBytes: 64 * MIB,
          allocationBytes: 0,
          modifiedAt: '',
        },
      );
      const file = await stat(made.path);
      // A retry recognises by it that nobody wrote to a kept replica.
      assert.equal(Math.floor(Number(made.modifiedAt)), Math.floor(file.mtimeMs / 1000));
      assert.equal(file.size, 64 * MIB);
      assert.ok(file.blocks * 512 < MIB, `${file.blocks} blocks are taken`);
      assert.ok((await readFile(made.path)).every((byte) => byte === 0));
      assert.deepEqual(await driver.findVolume('default', 'empty.raw'), made);
      assert.ok((await driver.listVolumes('default')).includes('empty.raw'));
    });

    void it('a name is taken once, whatever the size', async () => {
      const { driver } = bench();
      await driver.createVolume(raw('once.raw'), MIB);
      await assert.rejects(driver.createVolume(raw('once.raw'), 2 * MIB), { code: 'NAME_TAKEN' });
      assert.equal((await driver.findVolume('default', 'once.raw'))?.capacityBytes, MIB);
    });

    void it('removing is idempotent', async () => {
      const { driver } = bench();
      const { path } = await driver.createVolume(raw('gone.raw'), MIB);
      await driver.deleteVolume('default', 'gone.raw');
      await driver.deleteVolume('default', 'gone.raw');
      assert.equal(await driver.findVolume('default', 'gone.raw'), undefined);
      await assert.rejects(stat(path), { code: 'ENOENT' });
    });

    void it('an unknown pool is said to be unknown by every call', async () => {
      const { driver } = bench();
      const there = { ...raw('x.raw'), pool: 'nowhere' };
      const unknown = { code: 'POOL_UNKNOWN' };
      await assert.rejects(driver.createVolume(there, MIB), unknown);
      await assert.rejects(driver.findVolume('nowhere', 'x.raw'), unknown);
      await assert.rejects(driver.listVolumes('nowhere'), unknown);
      await assert.rejects(driver.deleteVolume('nowhere', 'x.raw'), unknown);
    });

    void it('a size that is none is refused', async () => {
      const { driver } = bench();
      for (const size of [0, -1, 1.5, Number.NaN]) {
        await assert.rejects(driver.createVolume(raw('size.raw'), size), { code: 'REQUEST_INVALID' });
      }
      assert.equal(await driver.findVolume('default', 'size.raw'), undefined);
    });

    void it('an upload is the file, and the rest stays as it was', async () => {
      const { driver } = bench();
      const content = randomBytes(3 * MIB + 517);
      const volume = await filled(bench(), 'upload.raw', content, 8 * MIB);
      const facts = await driver.findVolume('default', volume.name);
      const stored = await readFile(facts?.path ?? '');
      assert.equal(stored.length, 8 * MIB);
      assert.ok(stored.subarray(0, content.length).equals(content));
      assert.ok(stored.subarray(content.length).every((byte) => byte === 0));
    });

    void it('an upload that does not fit, or of no file, changes nothing', async () => {
      const { driver, scratch } = bench();
      const { path } = await driver.createVolume(raw('small.raw'), MIB);
      const large = join(scratch, 'large');
      await writeFile(large, randomBytes(MIB + 1));
      await assert.rejects(driver.uploadVolume(raw('small.raw'), large), { code: 'REQUEST_INVALID' });
      await assert.rejects(driver.uploadVolume(raw('small.raw'), join(scratch, 'none')), { code: 'NOT_FOUND' });
      await assert.rejects(driver.uploadVolume(raw('missing.raw'), large), { code: 'NOT_FOUND' });
      assert.ok((await readFile(path)).every((byte) => byte === 0));
    });

    void it('an overlay states the format of what it stands on', async () => {
      const { driver } = bench();
      const backing = await filled(bench(), 'below.raw', randomBytes(4096), 2 * MIB);
      const overlay = await driver.createOverlay(qcow2('above.qcow2'), backing);
      assert.equal(overlay.format, 'qcow2');
      assert.equal(overlay.capacityBytes, 2 * MIB);
      const info = await imageInfo(overlay.path, 'qcow2');
      assert.equal(info['backing-filename-format'], 'raw');
      assert.equal(info['virtual-size'], 2 * MIB);
      await run([
        'qemu-img',
        'compare',
        '-f',
        'qcow2',
        '-F',
        'raw',
        overlay.path,
        overlay.path.replace('above.qcow2', 'below.raw'),
      ]);
      await assert.rejects(driver.createOverlay(qcow2('above.qcow2'), backing), { code: 'NAME_TAKEN' });
      await assert.rejects(driver.createOverlay(qcow2('other.qcow2'), raw('missing.raw')), { code: 'NOT_FOUND' });
    });

    void it('an overlay on an overlay reads through both', async () => {
      const { driver, poolFolder } = bench();
      const lowest = await filled(bench(), 'lowest.raw', randomBytes(4096), MIB);
      await driver.createOverlay(qcow2('middle.qcow2'), lowest);
      const top = await driver.createOverlay(qcow2('top.qcow2'), qcow2('middle.qcow2'));
      assert.equal((await imageInfo(top.path, 'qcow2'))['backing-filename-format'], 'qcow2');
      await run(['qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', top.path, join(poolFolder, 'lowest.raw')]);
    });

    void it('a clone is a full copy of its own', async () => {
      const { driver } = bench();
      const content = randomBytes(MIB);
      const from = await filled(bench(), 'original.raw', content, 32 * MIB);
      await driver.createVolume(raw('taken.raw'), MIB);
      const copy = await driver.cloneVolume(from, raw('copy.raw'));
      assert.equal(copy.capacityBytes, 32 * MIB);
      const stored = await readFile(copy.path);
      assert.ok(stored.equals(Buffer.concat([content, Buffer.alloc(31 * MIB)])));
      assert.ok((await stat(copy.path)).blocks * 512 < 4 * MIB, 'the holes were filled');
      await driver.deleteVolume('default', from.name);
      assert.ok((await readFile(copy.path)).equals(stored));
      await assert.rejects(driver.cloneVolume(raw('missing.raw'), raw('c2.raw')), { code: 'NOT_FOUND' });
      await assert.rejects(driver.cloneVolume(raw('copy.raw'), raw('taken.raw')), { code: 'NAME_TAKEN' });
    });

    void it('a clone of an overlay stands on nothing', async () => {
      const { driver } = bench();
      const content = randomBytes(65_536);
      const backing = await filled(bench(), 'base.raw', content, MIB);
      await driver.createOverlay(qcow2('thin.qcow2'), backing);
      const copy = await driver.cloneVolume(qcow2('thin.qcow2'), qcow2('full.qcow2'));
      assert.equal((await imageInfo(copy.path, 'qcow2'))['backing-filename'], undefined);
      await run(['qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', copy.path, join(bench().poolFolder, 'base.raw')]);
    });

    void it('content that looks like another format changes nothing of a raw volume', async () => {
      const { driver, scratch, poolFolder } = bench();
      const secret = join(scratch, 'secret');
      await writeFile(secret, Buffer.alloc(MIB, 'SECRET OF THE HOST '));
      const disguise = join(scratch, 'disguise');
      await run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', disguise, '1G']);
      const content = await readFile(disguise);
      const volume = await filled(bench(), 'disguised.raw', content, 2 * MIB);
      // A host may look at the content now: the driver must not be led by it.
      await driver.pools();
      const facts = await driver.findVolume('default', 'disguised.raw');
      assert.deepEqual(
        { format: facts?.format, capacityBytes: facts?.capacityBytes },
        { format: 'raw', capacityBytes: 2 * MIB },
      );
      const overlay = await driver.createOverlay(qcow2('on-disguised.qcow2'), volume);
      assert.equal(overlay.capacityBytes, 2 * MIB);
      assert.equal((await imageInfo(overlay.path, 'qcow2'))['backing-filename-format'], 'raw');
      const copy = await driver.cloneVolume(volume, raw('disguised-copy.raw'));
      const stored = await readFile(copy.path);
      assert.ok(stored.equals(await readFile(join(poolFolder, 'disguised.raw'))));
      assert.ok(!stored.includes('SECRET OF THE HOST'));
      assert.equal(copy.capacityBytes, 2 * MIB);
    });

    void it('the name says the format', async () => {
      const { driver } = bench();
      await assert.rejects(driver.createVolume(raw('raw.qcow2'), MIB), { code: 'NAME_INVALID' });
      await driver.createVolume(raw('plain.raw'), MIB);
      await assert.rejects(driver.createOverlay(qcow2('overlay.img'), raw('plain.raw')), { code: 'NAME_INVALID' });
    });
  });
}
