/** The agent's export, read by programs that were not written here. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { listenExport } from '../../../agent/export/serve.ts';
import { dataPsk } from '../../../appliance/api/psk.ts';
import { contentOf, isZeros, JOB, Lab, MIB, patch, same, TOKEN, until, usedByDumpe2fs } from './transfer-lab.ts';

const run = promisify(execFile);
const DEADLINE = { timeout: 120_000 };
const lab = new Lab();
after(() => lab.clean());

function serve(paths: Record<string, string>, sizes: Record<string, number>) {
  const disks = Object.entries(paths).map(([disk, path]) => ({ disk, path, sizeBytes: sizes[disk] ?? 0 }));
  const session = listenExport({ jobId: JOB, token: TOKEN, connections: 4, disks }, '127.0.0.1', 0);
  lab.later(() => session.stop());
  const psk = dataPsk(TOKEN, JOB, Object.keys(paths));
  const keys = lab.keyFile(psk);
  const uri = (disk: string): string =>
    `nbds://${psk.identity}@127.0.0.1:${session.port}/${disk}?tls-psk-file=${keys}/keys.psk`;
  const qemu = (disk: string): string[] => [
    ...['--object', `tls-creds-psk,id=tls0,dir=${keys},username=${psk.identity},endpoint=client`],
    ...['--image-opts', `driver=nbd,host=127.0.0.1,port=${session.port},export=${disk},tls-creds=tls0`],
  ];
  return { session, uri, qemu, psk, keys };
}

describe('an export of an ext4 disk', async () => {
  const size = 200 * MIB;
  const { path } = lab.ext4(size);
  const used = usedByDumpe2fs(path);
  const usedBytes = used.reduce((sum, [start, end]) => sum + end - start, 0);
  const device = lab.loop(path);
  const { session, uri, qemu, psk } = serve({ sda: device.path }, { sda: size });
  await session.mapped;

  function checkCopy(copy: string): void {
    for (const [start, end] of used) {
      assert.ok(contentOf(path, start, end - start).equals(contentOf(copy, start, end - start)), `${start}-${end}`);
    }
    let at = 0;
    for (const [start, end] of [...used, [size, size] as const]) {
      if (start > at) assert.ok(isZeros(contentOf(copy, at, start - at)), 'free blocks are zeros');
      at = end;
    }
    execFileSync('e2fsck', ['-f', '-n', copy], { stdio: 'ignore' });
  }

  it('is described by nbdinfo', async () => {
    const { stdout } = await run('nbdinfo', ['--json', uri('sda')], DEADLINE);
    const info: unknown = JSON.parse(stdout);
    assert.partialDeepStrictEqual(info, {
      protocol: 'newstyle-fixed',
      TLS: true,
      structured: true,
      exports: [
        {
          'export-name': 'sda',
          'export-size': size,
          contexts: ['base:allocation'],
          is_read_only: true,
          can_multi_conn: true,
          can_df: true,
          block_size_minimum: 1,
          block_size_maximum: 32 * MIB,
        },
      ],
    });
    const { stdout: list } = await run('nbdinfo', ['--list', '--json', uri('sda')], DEADLINE);
    assert.match(list, /"export-name": "sda"/);
  });

  it('has the allocation that dumpe2fs sees', async () => {
    const { stdout } = await run('nbdinfo', ['--map', '--json', uri('sda')], { ...DEADLINE, maxBuffer: 1 << 28 });
    const map = JSON.parse(stdout) as { offset: number; length: number; type: number }[];
    const data = map.filter(({ type }) => type === 0);
    assert.ok(map.every(({ type }) => type === 0 || type === 3));
    for (const [start, end] of used) {
      assert.ok(
        data.some(({ offset, length }) => offset <= start && end <= offset + length),
        `${start}-${end} is data`,
      );
    }
    const total = data.reduce((sum, { length }) => sum + length, 0);
    assert.ok(total <= usedBytes + MIB, `${total} bytes are data, ${usedBytes} are used`);
  });

  it('is copied by nbdcopy over four connections', async () => {
    const copy = lab.path('nbdcopy');
    await run('nbdcopy', ['--connections=4', uri('sda'), copy], DEADLINE);
    checkCopy(copy);
  });

  it('is copied by qemu-img', async () => {
    const copy = lab.path('qemu-img');
    await run('qemu-img', ['convert', '-O', 'raw', ...qemu('sda'), copy], DEADLINE);
    checkCopy(copy);
  });

  it('cannot be written by qemu-io', async () => {
    const args = ['-c', 'write 0 4096', ...qemu('sda')];
    const before = contentOf(path, 0, 4096);
    await assert.rejects(run('qemu-io', args, DEADLINE), /read-only|not permitted|Permission denied/);
    assert.ok(contentOf(path, 0, 4096).equals(before));
  });

  it('gives nothing to a client without TLS, without the key, or with another one, and goes on', async () => {
    const plain = `nbd://127.0.0.1:${session.port}/sda`;
    await assert.rejects(run('nbdinfo', ['--size', plain], DEADLINE));
    await assert.rejects(run('nbdinfo', ['--list', plain], DEADLINE));
    const wrongKey = lab.keyFile({ ...psk, key: Buffer.alloc(32, 9) });
    const wrongName = lab.keyFile({ identity: 'rehost-other', key: psk.key });
    const address = `127.0.0.1:${session.port}/sda`;
    const read = session.status().exports[0]?.readBytes;
    await assert.rejects(
      run('nbdinfo', [`nbds://${psk.identity}@${address}?tls-psk-file=${wrongKey}/keys.psk`], DEADLINE),
    );
    await assert.rejects(
      run('nbdinfo', [`nbds://rehost-other@${address}?tls-psk-file=${wrongName}/keys.psk`], DEADLINE),
    );
    await assert.rejects(run('nbdinfo', [`nbds://${address}?tls-verify-peer=false`], DEADLINE));
    assert.equal(session.status().exports[0]?.readBytes, read, 'nothing was read for them');
    const { stdout } = await run('nbdinfo', ['--size', uri('sda')], DEADLINE);
    assert.equal(Number(stdout), size);
  });
});

describe('an export of disks that nothing is known of', async () => {
  const size = 20 * MIB + 512;
  const random = lab.random(size);
  const sparse = lab.file(64 * MIB);
  execFileSync('dd', [`if=${random}`, `of=${sparse}`, 'bs=1M', 'seek=30', 'count=5', 'conv=notrunc'], {
    stdio: 'ignore',
  });
  const disks = { sda: random, sdb: lab.loop(sparse, 4096).path };
  const { session, uri, qemu } = serve(disks, { sda: size, sdb: 64 * MIB });
  await session.mapped;

  it('is copied byte for byte, whatever its size', async () => {
    const copy = lab.path('copy');
    await run('nbdcopy', ['--request-size=33554432', uri('sda'), copy], DEADLINE);
    assert.ok(same(copy, random));
    const other = lab.path('qemu');
    await run('qemu-img', ['convert', '-O', 'raw', ...qemu('sda'), other], DEADLINE);
    assert.ok(same(other, random));
  });

  it('has its zeros found by reading, when a standard client asks', async () => {
    const { stdout } = await run('nbdinfo', ['--map', '--json', uri('sdb')], DEADLINE);
    const map = JSON.parse(stdout) as { offset: number; length: number; type: number }[];
    assert.deepEqual(
      map.map(({ offset, length, type }) => [offset, length, type]),
      [
        [0, 30 * MIB, 3],
        [30 * MIB, 5 * MIB, 0],
        [35 * MIB, 29 * MIB, 3],
      ],
    );
  });

  it('is read at any offset and length, on a device with 4 KiB sectors too', async () => {
    const reads = [1, 511, 512, 4095, 4097, 30 * MIB - 3, 31 * MIB + 777].map((offset) => [
      '-c',
      `read -v ${offset} 13`,
    ]);
    const { stdout } = await run('qemu-io', ['-r', ...reads.flat(), ...qemu('sdb')], DEADLINE);
    const lines = [...stdout.matchAll(/^([0-9a-f]{8}): {2}((?:[0-9a-f]{2} ){1,16})/gm)];
    assert.equal(lines.length, 7);
    for (const [, offset = '', hex = ''] of lines) {
      const expected = contentOf(sparse, Number.parseInt(offset, 16), 13).toString('hex');
      assert.equal(hex.replaceAll(' ', ''), expected);
    }
  });
});

describe('an export that is asked for odd things', async () => {
  const size = 40 * MIB + 512;
  const disk = lab.random(size);
  // Zeros, which come as holes.
  execFileSync('fallocate', ['--punch-hole', '--offset', '12345', '--length', String(3 * MIB), disk]);
  const { session, uri, qemu } = serve({ sda: disk }, { sda: size });
  await session.mapped;

  it('refuses them one by one and goes on, with libnbd', async () => {
    // Debian's own: its module belongs to it.
    await run('/usr/bin/python3', [join(import.meta.dirname, 'odd-requests.py'), uri('sda'), disk], DEADLINE);
    assert.equal(session.status().error, null);
  });

  it('refuses them one by one and goes on, with qemu-io', async () => {
    const requests = [
      `read ${size} 512`,
      `read ${size - 512} 1024`,
      'read -P 0 1M 0',
      'discard 0 64k',
      'write -z 0 64k',
    ];
    const commands = [...requests, 'read -P 0 16384 2M'].flatMap((request) => ['-c', request]);
    const { stdout, stderr } = await run('qemu-io', ['-r', ...commands, ...qemu('sda')], DEADLINE).catch(
      // It exits with 1 when one of its requests failed.
      (error: unknown) => error as { stdout: string; stderr: string },
    );
    const said = stdout + stderr;
    assert.match(said, /read 2097152\/2097152 bytes at offset 16384/);
    assert.doesNotMatch(said, /Pattern verification failed/);
    assert.match(said, /Input\/output error|Invalid argument/);
  });

  it('is read by fio in random order, several at once, and every block is what fio had written', async () => {
    const bytes = 32 * MIB;
    const path = lab.file(bytes);
    const job = ['--name=all', `--size=${bytes}`, '--bs=64k', '--rw=randwrite', '--verify=crc32c', '--randseed=7'];
    await run('fio', [...job, `--filename=${path}`, '--do_verify=0'], { ...DEADLINE, cwd: lab.folder });
    const other = serve({ sdf: path }, { sdf: bytes });
    await other.session.mapped;
    // fio has no way to be given a key: nbdkit stands between and passes its requests on.
    const socket = lab.path('socket');
    const server = [
      `hostname=127.0.0.1`,
      `port=${other.session.port}`,
      'export=sdf',
      'tls=require',
      `tls-psk=${other.keys}/keys.psk`,
      `tls-username=${other.psk.identity}`,
    ];
    lab.start('nbdkit', ['-f', '--exit-with-parent', '-r', '-U', socket, 'nbd', ...server]);
    await until('nbdkit listens', () => existsSync(socket));
    const uri = `nbd+unix:///?socket=${socket}`;
    const read = ['--ioengine=nbd', `--uri=${uri}`, '--iodepth=16', '--verify_only', '--output-format=json'];
    const { stdout } = await run('fio', [...job, ...read], { ...DEADLINE, cwd: lab.folder });
    const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as {
      jobs: { error: number; read: { io_bytes: number } }[];
    };
    assert.deepEqual([report.jobs[0]?.error, report.jobs[0]?.read.io_bytes], [0, bytes]);
    // One block that is not what was written.
    patch(path, 5 * MIB + 100, Buffer.from('damage'));
    await assert.rejects(run('fio', [...job, ...read], { ...DEADLINE, cwd: lab.folder }), /verify|crc32c/);
  });
});
