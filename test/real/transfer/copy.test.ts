/** Agent to receiver on block devices: what arrives, what does not, and what it costs on the wire. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, describe, it } from 'node:test';
import { type ExportSession, startExport } from '../../../agent/export/serve.ts';
import { type CopySession, startCopy } from '../../../receiver/copy/copy.ts';
import { startVerify, type VerifyOptions, type VerifyStatus } from '../../../receiver/copy/verify.ts';
import { contentOf, isZeros, JOB, Lab, MIB, patch, same, TOKEN, usedByDumpe2fs } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());

interface Pair {
  source: string;
  replica: string;
  sizeBytes: number;
}

async function copy(
  pairs: Record<string, Pair>,
  connections = 2,
): Promise<{ session: CopySession; agent: ExportSession }> {
  const session = startCopy({
    jobId: JOB,
    token: TOKEN,
    connections,
    listen: { host: '127.0.0.1', port: 0 },
    disks: Object.entries(pairs).map(([disk, { replica, sizeBytes }]) => ({
      disk,
      sizeBytes,
      target: { kind: 'device', path: replica },
    })),
    bounds: { meeting: 30_000, copying: 30_000 },
  });
  lab.later(() => session.stop());
  const agent = startExport({
    jobId: JOB,
    token: TOKEN,
    connections,
    address: '127.0.0.1',
    port: session.port,
    disks: Object.entries(pairs).map(([disk, { source, sizeBytes }]) => ({ disk, path: source, sizeBytes })),
  });
  lab.later(() => agent.stop());
  await session.finished;
  return { session, agent };
}

async function verify(session: CopySession, options?: VerifyOptions): Promise<VerifyStatus> {
  const run = startVerify(session.copied(), options);
  await run.finished;
  return run.status();
}

describe('a copy of an ext4 disk with deleted files', async () => {
  const sizeBytes = 300 * MIB;
  const { path } = lab.ext4(sizeBytes);
  const used = usedByDumpe2fs(path);
  const usedBytes = used.reduce((sum, [start, end]) => sum + end - start, 0);
  const stale = lab.garbage(sizeBytes);
  const source = lab.loop(path);
  const replica = lab.loop(stale);
  const before = execFileSync('sha256sum', [path], { encoding: 'utf8' });
  const { session, agent } = await copy({ sda: { source: source.path, replica: replica.path, sizeBytes } });
  const status = session.status();

  it('is done, flushed, and clean', () => {
    assert.deepEqual([status.progress, status.error, status.reconnects], ['done', null, 0]);
    assert.equal(status.disks[0]?.copiedBytes, status.disks[0]?.usedBytes);
    assert.equal(status.disks[0]?.flushedBytes, status.disks[0]?.usedBytes);
    execFileSync('e2fsck', ['-f', '-n', replica.path], { stdio: 'ignore' });
  });

  it('has every used block, and zeros everywhere else, although the volume was full of old data', () => {
    let at = 0;
    for (const [start, end] of [...used, [sizeBytes, sizeBytes] as const]) {
      if (start > at) assert.ok(isZeros(contentOf(replica.path, at, start - at)), `${at}-${start} is zero`);
      if (end > start) {
        const expected = contentOf(path, start, end - start);
        assert.ok(contentOf(replica.path, start, end - start).equals(expected), `${start}-${end} is the same`);
      }
      at = end;
    }
  });

  it('has the same files', () => {
    const list = (image: string): string => execFileSync('debugfs', ['-R', 'ls -l /', image], { encoding: 'utf8' });
    assert.equal(list(replica.path), list(path));
    for (const name of ['file-1', 'file-35', 'file-59']) {
      const cat = (image: string): Buffer =>
        execFileSync('debugfs', ['-R', `cat /${name}`, image], { stdio: ['ignore', 'pipe', 'ignore'] });
      assert.ok(cat(replica.path).length > 0);
      assert.ok(cat(replica.path).equals(cat(path)));
    }
  });

  it('sent only what is in use, less its zeros', () => {
    assert.ok((status.disks[0]?.usedBytes ?? 0) <= usedBytes + MIB, `${status.disks[0]?.usedBytes} of ${usedBytes}`);
    assert.ok(status.wireBytes <= usedBytes * 1.05, `${status.wireBytes} bytes on the wire, ${usedBytes} in use`);
    const zeroBytes = status.disks[0]?.zeroBytes ?? 0;
    assert.ok(zeroBytes > 3 * MIB, 'files of zeros were not sent');
    assert.ok(status.wireBytes <= (usedBytes - zeroBytes) * 1.05 + 200_000);
    const served = agent.status();
    assert.ok((served.exports[0]?.readBytes ?? 0) >= usedBytes);
    assert.ok(
      Math.abs(served.wireBytes - status.wireBytes) < 100_000,
      'both ends count the same bytes, but for the requests',
    );
    assert.equal(served.error, null);
  });

  it('left the source as it was', () => {
    assert.equal(execFileSync('sha256sum', [path], { encoding: 'utf8' }), before);
  });

  it('is verified, with a manifest that depends on the content alone', async () => {
    const first = await verify(session);
    assert.deepEqual([first.progress, first.error], ['done', null]);
    assert.equal(first.checkedBytes, first.totalBytes);
    assert.match(first.manifests[0]?.sha256 ?? '', /^[0-9a-f]{64}$/);
    const again = lab.loop(lab.garbage(sizeBytes));
    const second = await copy({ sda: { source: source.path, replica: again.path, sizeBytes } }, 3);
    const other = await verify(second.session);
    assert.deepEqual(other.manifests, first.manifests);
  });

  it('fails verification when one bit of a piece is flipped on the storage, and names the range', async () => {
    const [start = 0] = used.find(([from, to]) => from > 20 * MIB && to - from >= 8192) ?? [];
    assert.ok(start > 0);
    const at = start + 4097;
    const original = contentOf(stale, at, 1);
    patch(stale, at, Buffer.from([(original[0] ?? 0) ^ 0x10]));
    const result = await verify(session);
    assert.equal(result.progress, 'failed');
    assert.equal(result.error?.code, 'VERIFY_MISMATCH');
    const [, length = '', offset = ''] =
      /'sda', (\d+) bytes at (\d+): the replica differs/.exec(result.error?.message ?? '') ?? [];
    assert.ok(Number(offset) <= at && at < Number(offset) + Number(length), result.error?.message);
    assert.deepEqual(result.manifests, []);
    patch(stale, at, original);
    assert.equal((await verify(session)).progress, 'done');
  });

  /** Free space that is as long as `bytes` and begins at a multiple of them; the last there is. */
  function freeSpace(bytes: number): number {
    const starts = used.map(([, end], i) => [Math.ceil(end / bytes) * bytes, used[i + 1]?.[0] ?? sizeBytes] as const);
    const [start] = starts.findLast(([from, to]) => to - from >= bytes) ?? [];
    assert.ok(start !== undefined);
    return start;
  }

  it('fails verification when the free part of a block in use does not read as zeros', async () => {
    // Behind the last block in use of a stretch, and before the next 4 MiB begin.
    const [, end = 0] = used.find(([, to], i) => to % (4 * MIB) !== 0 && (used[i + 1]?.[0] ?? sizeBytes) > to) ?? [];
    assert.ok(end > 0);
    patch(stale, end, Buffer.from([1]));
    const result = await verify(session);
    assert.equal(result.error?.code, 'VERIFY_MISMATCH');
    assert.match(result.error?.message ?? '', /the replica differs/);
    patch(stale, end, Buffer.from([0]));
  });

  it('fails verification when a block that is free does not read as zeros', async () => {
    const start = freeSpace(4 * MIB);
    patch(stale, start, Buffer.from([1]));
    const result = await verify(session);
    assert.equal(result.error?.code, 'VERIFY_MISMATCH');
    assert.match(result.error?.message ?? '', /should read as zeros/);
    patch(stale, start, Buffer.from([0]));
  });

  it('fails verification when one byte in the middle of a hole is not zero', async () => {
    const at = freeSpace(4 * MIB) + 2 * MIB + 12345;
    patch(stale, at, Buffer.from([1]));
    const result = await verify(session);
    assert.match(result.error?.message ?? '', /should read as zeros/);
    patch(stale, at, Buffer.from([0]));
    const full = await verify(session);
    assert.deepEqual([full.progress, full.manifests[0]?.holes], ['done', 'read']);
    assert.deepEqual([full.checkedBytes, full.totalBytes], [sizeBytes, sizeBytes]);
  });

  it('takes samples of more holes than are to be read, and says so', async () => {
    const sampled = await verify(session, { fullHolesBytes: 100 * MIB });
    assert.deepEqual([sampled.progress, sampled.manifests[0]?.holes], ['done', 'sampled']);
    assert.equal(sampled.checkedBytes, sampled.totalBytes);
    assert.ok(sampled.totalBytes < sizeBytes);
  });
});

describe('copies of disks of any kind', () => {
  it('of a size that is no multiple of anything but sectors', async () => {
    const sizeBytes = 9 * MIB + 3 * 512;
    const path = lab.random(sizeBytes);
    const stale = lab.garbage(sizeBytes);
    const { session } = await copy({
      sda: { source: lab.loop(path).path, replica: lab.loop(stale).path, sizeBytes },
    });
    assert.equal(session.status().progress, 'done');
    assert.ok(same(stale, path));
    assert.equal((await verify(session)).progress, 'done');
  });

  it('on larger replicas: what lies behind the disk is zero', async () => {
    const sizeBytes = 9 * MIB + 3 * 512;
    const room = 12 * MIB;
    const path = lab.random(sizeBytes);
    const stale = lab.garbage(room);
    const { session } = await copy({
      sda: { source: lab.loop(path).path, replica: lab.loop(stale).path, sizeBytes },
    });
    assert.deepEqual([session.status().progress, session.status().error], ['done', null]);
    assert.ok(contentOf(stale, 0, sizeBytes).equals(contentOf(path, 0, sizeBytes)));
    assert.ok(isZeros(contentOf(stale, sizeBytes, room - sizeBytes)));
    assert.equal((await verify(session)).progress, 'done');
    patch(stale, room - 1, Buffer.from([1]));
    assert.equal((await verify(session)).error?.code, 'VERIFY_MISMATCH');
  });

  it('with 4 KiB sectors on both sides', async () => {
    const sizeBytes = 64 * MIB;
    const { path } = lab.ext4(sizeBytes, ['-b', '4096']);
    const stale = lab.garbage(sizeBytes);
    const replica = lab.loop(stale, 4096);
    const { session } = await copy({ sda: { source: lab.loop(path, 4096).path, replica: replica.path, sizeBytes } });
    assert.equal(session.status().progress, 'done');
    execFileSync('e2fsck', ['-f', '-n', replica.path], { stdio: 'ignore' });
    assert.equal((await verify(session)).progress, 'done');
  });

  it('with 1 KiB blocks, whose free ranges are not aligned to 4 KiB', async () => {
    const sizeBytes = 64 * MIB;
    const { path } = lab.ext4(sizeBytes, ['-b', '1024']);
    const stale = lab.garbage(sizeBytes);
    const replica = lab.loop(stale);
    const { session } = await copy({ sda: { source: lab.loop(path).path, replica: replica.path, sizeBytes } });
    assert.equal(session.status().progress, 'done');
    for (const [start, end] of usedByDumpe2fs(path)) {
      assert.ok(
        contentOf(replica.path, start, end - start).equals(contentOf(path, start, end - start)),
        `${start}-${end}`,
      );
    }
    assert.equal((await verify(session)).progress, 'done');
  });

  it('that are empty: nothing but the map and the protocol is sent', async () => {
    const sizeBytes = 100 * MIB;
    const stale = lab.garbage(sizeBytes);
    const empty = lab.file(sizeBytes);
    const { session } = await copy({ sda: { source: lab.loop(empty).path, replica: lab.loop(stale).path, sizeBytes } });
    assert.equal(session.status().progress, 'done');
    assert.ok(session.status().wireBytes < 100_000);
    assert.ok(same(stale, empty));
  });

  it('several of one machine, over connections that are shared', async () => {
    const pairs: Record<string, Pair> = {};
    const stale: Record<string, string> = {};
    const origin: Record<string, string> = {};
    for (const [disk, mib] of Object.entries({ sda: 60, sdb: 5, sdc: 33 })) {
      origin[disk] = lab.random(mib * MIB);
      stale[disk] = lab.garbage(mib * MIB);
      pairs[disk] = {
        source: lab.loop(origin[disk]).path,
        replica: lab.loop(stale[disk]).path,
        sizeBytes: mib * MIB,
      };
    }
    const { session } = await copy(pairs);
    assert.deepEqual([session.status().progress, session.status().error], ['done', null]);
    for (const disk of Object.keys(pairs)) assert.ok(same(stale[disk] ?? '', origin[disk] ?? ''), disk);
    const verified = await verify(session);
    assert.deepEqual(
      verified.manifests.map(({ disk, bytes }) => [disk, bytes]),
      [
        ['sda', 60 * MIB],
        ['sdb', 5 * MIB],
        ['sdc', 33 * MIB],
      ],
    );
  });

  it('with an unclean journal, in full', async () => {
    const sizeBytes = 64 * MIB;
    const { path } = lab.ext4(sizeBytes, ['-b', '4096']);
    execFileSync('debugfs', ['-w', '-R', 'feature needs_recovery', path], { stdio: 'ignore' });
    const stale = lab.garbage(sizeBytes);
    const { session } = await copy({ sda: { source: lab.loop(path).path, replica: lab.loop(stale).path, sizeBytes } });
    assert.equal(session.status().disks[0]?.usedBytes, sizeBytes);
    assert.ok(same(stale, path), 'with what deleted files left behind');
  });
});
