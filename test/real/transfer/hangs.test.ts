/** Storage that hangs, on either side: an NBD server behind a FUSE file, which the test holds up. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startExport } from '../../../agent/export/serve.ts';
import { type CopyOptions, type CopySession, startCopy } from '../../../receiver/copy/copy.ts';
import { startVerify } from '../../../receiver/copy/verify.ts';
import { servedFile } from './served-file.ts';
import { JOB, Lab, MIB, same, TOKEN, until } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());

function receive(path: string, sizeBytes: number, bounds: CopyOptions['bounds']): CopySession {
  const session = startCopy({
    jobId: JOB,
    token: TOKEN,
    connections: 2,
    listen: { host: '127.0.0.1', port: 0 },
    disks: [{ disk: 'sda', sizeBytes, target: { kind: 'device', path } }],
    ...(bounds && { bounds }),
  });
  lab.later(() => session.stop());
  return session;
}

function serve(path: string, sizeBytes: number, port: number) {
  const disks = [{ disk: 'sda', path, sizeBytes }];
  const session = startExport({ jobId: JOB, token: TOKEN, connections: 2, address: '127.0.0.1', port, disks });
  lab.later(() => session.stop());
  return session;
}

describe('a source', () => {
  it('whose map takes longer than a copy may stand still is waited for, and copied', async () => {
    const sizeBytes = 32 * MIB;
    const content = lab.ext4(sizeBytes).path;
    const source = await servedFile(lab, sizeBytes, ['file', content]);
    source.server.kill('SIGSTOP');
    const replica = lab.file(sizeBytes);
    const session = receive(replica, sizeBytes, { copying: 6_000 });
    const agent = serve(source.path, sizeBytes, session.port);
    await until('the agent is there', () => agent.status().connections === 2);
    await sleep(9_000);
    assert.deepEqual([session.status().progress, session.status().disks[0]?.usedBytes], ['running', null]);
    source.server.kill('SIGCONT');
    await session.finished;
    assert.deepEqual([session.status().progress, session.status().error], ['done', null]);
    execFileSync('e2fsck', ['-f', '-n', replica], { stdio: 'ignore' });
  });

  it('whose map never comes ends the copy at last', async () => {
    const sizeBytes = 8 * MIB;
    const source = await servedFile(lab, sizeBytes, ['memory', String(sizeBytes)]);
    source.server.kill('SIGSTOP');
    const session = receive(lab.file(sizeBytes), sizeBytes, { mapping: 2_000 });
    serve(source.path, sizeBytes, session.port);
    await session.finished;
    assert.equal(session.status().error?.code, 'TRANSFER_FAILED');
    assert.match(session.status().error?.message ?? '', /No allocation map came for 2 s/);
    source.server.kill('SIGCONT');
  });
});

describe('a replica', () => {
  it('whose last flush hangs: the copy fails and says so', async () => {
    const sizeBytes = 4 * MIB;
    const source = lab.random(sizeBytes);
    const backing = lab.file(sizeBytes);
    const release = lab.path('release');
    const dd = 'iflag=skip_bytes,count_bytes oflag=seek_bytes status=none conv=notrunc';
    const replica = await servedFile(lab, sizeBytes, [
      'eval',
      `get_size=echo ${sizeBytes}`,
      `pread=dd if=${backing} skip=$4 count=$3 ${dd}`,
      `pwrite=dd of=${backing} seek=$4 ${dd}`,
      // The kernel lets nobody write to a file of FUSE while it is flushed: only the last flush is to hang.
      `flush=cmp -s ${source} ${backing} || exit 0; while [ ! -e ${release} ]; do sleep 0.1; done`,
    ]);
    lab.later(() => writeFileSync(release, ''));
    const session = receive(replica.path, sizeBytes, { storing: 3_000 });
    serve(source, sizeBytes, session.port);
    await session.finished;
    const { error, disks } = session.status();
    assert.equal(error?.code, 'TARGET_WRITE_FAILED');
    assert.match(error?.message ?? '', /neither zeroed nor flushed anything for 3 s/);
    assert.deepEqual([disks[0]?.copiedBytes, disks[0]?.flushedBytes], [sizeBytes, 0]);
    writeFileSync(release, '');
  });

  it('that answers no read any longer: the verification fails and says so', async () => {
    const sizeBytes = 16 * MIB;
    const replica = await servedFile(lab, sizeBytes, ['memory', String(sizeBytes)]);
    const source = lab.random(sizeBytes);
    const session = receive(replica.path, sizeBytes, {});
    serve(source, sizeBytes, session.port);
    await session.finished;
    assert.deepEqual([session.status().progress, session.status().error], ['done', null]);
    assert.ok(same(replica.path, source));
    replica.server.kill('SIGSTOP');
    const verify = startVerify(session.copied(), { noProgressMs: 2_000 });
    await verify.finished;
    assert.equal(verify.status().error?.code, 'TARGET_WRITE_FAILED');
    assert.match(verify.status().error?.message ?? '', /answered no read for 2 s/);
    assert.deepEqual(verify.status().manifests, []);
    replica.server.kill('SIGCONT');
  });
});
