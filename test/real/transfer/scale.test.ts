/** Disks of 16 TiB, of which little is in use: memory does not grow with them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { after, it } from 'node:test';
import { journalLayout } from '../../../appliance/api/journal.ts';
import { mkfsXfs } from '../../lab/xfs.ts';
import { bundleEnds } from './bundled-ends.ts';
import { type Place, SinkEnd, SourceEnd } from './ends.ts';
import { contentOf, isZeros, JOB, Lab, MIB, TOKEN } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());
/** What ext4 with blocks of 4 KiB lets a file have. */
const SIZE = 16 * 1024 ** 4 - MIB;
const AGENT_MAX = 160 * MIB;
const RECEIVER_MAX = 128 * MIB;

it('a disk of 16 TiB is copied, and copied again by its journal, within fixed memory', async (t) => {
  const ends = await bundleEnds(lab);
  const source = lab.path('xfs');
  mkfsXfs(lab.folder, source, SIZE, ['-K', '-l', 'size=64m']);
  // Something at the other end of the disk as well.
  execFileSync('xfs_io', ['-c', `pwrite -q -S 0x5a ${12 * 1024 ** 4} 65536`, source]);
  const replica = lab.file(SIZE);
  const basics = { jobId: JOB, token: TOKEN.toString('hex'), connections: 2 };
  const journal = lab.garbage(journalLayout([{ sizeBytes: SIZE }]).sizeBytes);

  async function copy(): Promise<{ resumed: number; agent: number; receiver: number }> {
    const target = { kind: 'device', path: replica } as const;
    const disks = [{ disk: 'sda', sizeBytes: SIZE, target, identity: 'a' }];
    const where: Place = { program: ends.sink };
    const sink = new SinkEnd(lab, { ...basics, listen: { host: '127.0.0.1', port: 0 }, disks, journal }, where);
    const order = { ...basics, address: '127.0.0.1', port: await sink.port() };
    const agent = new SourceEnd(
      lab,
      { ...order, disks: [{ disk: 'sda', path: source, sizeBytes: SIZE }] },
      { program: ends.source },
    );
    const { progress, error, disks: states } = await sink.finished();
    assert.deepEqual([progress, error], ['done', null]);
    const peaks = { agent: agent.peakBytes, receiver: sink.peakBytes };
    await Promise.all([agent.kill(), sink.kill()]);
    return { resumed: states[0]?.resumedBytes ?? 0, ...peaks };
  }

  const first = await copy();
  const second = await copy();
  const mib = (bytes: number): number => Math.round(bytes / MIB);
  t.diagnostic(
    `peak RSS, MiB: agent ${mib(first.agent)}, ${mib(second.agent)}; receiver ${mib(first.receiver)}, ${mib(second.receiver)}`,
  );
  assert.equal(first.resumed, 0);
  assert.ok(second.resumed > 0);
  execFileSync('xfs_repair', ['-n', '-f', replica], { stdio: 'ignore' });
  assert.ok(contentOf(replica, 0, MIB).equals(contentOf(source, 0, MIB)));
  assert.ok(isZeros(contentOf(replica, 12 * 1024 ** 4, 65536)), 'what is free is not copied');
  for (const { agent, receiver } of [first, second]) {
    assert.ok(agent <= AGENT_MAX, `the agent's peak: ${mib(agent)} MiB`);
    assert.ok(receiver <= RECEIVER_MAX, `the receiver's peak: ${mib(receiver)} MiB`);
  }
});
