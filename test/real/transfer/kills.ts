/** A copy whose processes are killed at random moments, and what it may cost. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { journalLayout } from '../../../appliance/api/journal.ts';
import { Journal } from '../../../receiver/copy/journal.ts';
import { planFromList } from '../../../receiver/copy/plan.ts';
import { openTarget } from '../../../receiver/target/open.ts';
import { randomFrom } from '../../unit/copy/random.ts';
import { SinkEnd, SourceEnd } from './ends.ts';
import { freePort, JOB, type Lab, MIB, patch, same, TOKEN } from './transfer-lab.ts';

const SIZE = 192 * MIB;
/** So slow that kills fall into it, bytes per second. */
const LIMIT = 64 * MIB;
const FLUSH_EVERY_MS = 200;
/** Handshakes, maps and hashes of samples, bytes. */
const OVERHEAD = 128 * 1024;
const IDENTITY = 'a snapshot';

export type Victim = 'agent' | 'receiver' | 'both';

export interface Outcome {
  /** For each process that came after a kill: what was missing when it began, and what then went over the wire, bytes. */
  resumed: { missing: number; sent: number }[];
}

/** What the journal on the volume has of the disk, bytes. */
function recordedBytes(journal: string): number {
  const order = { jobId: JOB, snapshot: '', disks: [{ disk: 'sda', sizeBytes: SIZE, identity: IDENTITY }] };
  const opened = Journal.existing(openTarget({ kind: 'device', path: journal, readOnly: true }), order, 0);
  try {
    return planFromList(SIZE, opened.list()).usedBytes;
  } finally {
    opened.close();
  }
}

/** One copy during which `victim` is killed `kills` times; it must come to its end, right, and without sending much again. */
export async function survive(lab: Lab, seed: number, victim: Victim, kills: number): Promise<Outcome> {
  const random = randomFrom(seed);
  const source = lab.random(SIZE);
  // Some blocks of zeros, and some half full of them.
  for (let block = 0; block < 48; block++) {
    if (random(6) === 0) patch(source, block * 4 * MIB, Buffer.alloc(random(2) === 0 ? 4 * MIB : 2 * MIB));
  }
  const replica = lab.garbage(SIZE);
  const device = lab.loop(replica);
  const journal = lab.garbage(journalLayout([{ sizeBytes: SIZE }]).sizeBytes);
  const port = await freePort();
  const basics = { jobId: JOB, token: TOKEN.toString('hex'), connections: 2 };
  const startSink = async (): Promise<SinkEnd> => {
    const target = { kind: 'device', path: device.path } as const;
    const sink = new SinkEnd(lab, {
      ...basics,
      listen: { host: '127.0.0.1', port },
      disks: [{ disk: 'sda', sizeBytes: SIZE, target, identity: IDENTITY }],
      journal,
      bytesPerSecond: LIMIT,
      flushEveryMs: FLUSH_EVERY_MS,
    });
    await sink.port();
    return sink;
  };
  const startSource = async (): Promise<SourceEnd> => {
    const agent = new SourceEnd(lab, {
      ...basics,
      address: '127.0.0.1',
      port,
      disks: [{ disk: 'sda', path: source, sizeBytes: SIZE }],
    });
    await agent.ready;
    return agent;
  };
  let sink = await startSink();
  let agent = await startSource();
  const resumed: Outcome['resumed'] = [];
  for (let i = 0; i < kills; i++) {
    // From the connections' beginning to beyond the copy's end, which at this limit takes three seconds.
    await sleep(random(Math.ceil((4_000 / kills) * (i + 1))));
    if (victim === 'agent') {
      await agent.kill();
      const { disks, progress } = await sink.status();
      if (progress === 'done') break;
      const missing = SIZE - (disks[0]?.copiedBytes ?? 0);
      agent = await startSource();
      if (i === kills - 1) {
        await sink.finished();
        resumed.push({ missing, sent: (await agent.status()).wireBytes });
      }
      continue;
    }
    if (victim === 'both') await agent.kill();
    await sink.kill();
    const missing = SIZE - recordedBytes(journal);
    sink = await startSink();
    if (victim === 'both') agent = await startSource();
    if (i === kills - 1) resumed.push({ missing, sent: (await sink.finished()).wireBytes });
  }
  const status = await sink.finished();
  assert.deepEqual([status.progress, status.error], ['done', null]);
  assert.deepEqual(
    [status.disks[0]?.copiedBytes, status.disks[0]?.flushedBytes, recordedBytes(journal)],
    [SIZE, SIZE, SIZE],
  );
  for (const { missing, sent } of resumed) {
    assert.ok(sent <= 1.1 * missing + OVERHEAD, `${sent} bytes were sent for ${missing} that were missing`);
  }
  const verified = await sink.verify();
  assert.deepEqual([verified.progress, verified.error], ['done', null]);
  await Promise.all([agent.kill(), sink.kill()]);
  device.detach();
  assert.ok(same(replica, source));
  return { resumed };
}
