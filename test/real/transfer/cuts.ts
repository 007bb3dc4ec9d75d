/** A link that is cut between the two ends, each a process in a network namespace of its own: packets vanish, nobody is told. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { SinkEnd, SourceEnd } from './ends.ts';
import { type Link, layLink } from './link.ts';
import { JOB, type Lab, MIB, same, TOKEN } from './transfer-lab.ts';

const SIZE = 96 * MIB;
const BASICS = { jobId: JOB, token: TOKEN.toString('hex'), connections: 2 };

export interface Scene {
  link: Link;
  source: string;
  replica: string;
  sink: SinkEnd;
  agent: SourceEnd;
  /** Waits until so much is copied. */
  reached(share: number): Promise<void>;
}

export async function scene(lab: Lab, bounds: { copying?: number } = {}): Promise<Scene> {
  const link = layLink(lab);
  const source = lab.random(SIZE);
  const replica = lab.garbage(SIZE);
  const order = {
    ...BASICS,
    listen: { host: link.address, port: 0 },
    disks: [{ disk: 'sda', sizeBytes: SIZE, target: { kind: 'device', path: replica } as const }],
    bytesPerSecond: 24 * MIB,
    bounds,
  };
  const sink = new SinkEnd(lab, order, { namespace: link.right });
  const port = await sink.port();
  const disks = [{ disk: 'sda', path: source, sizeBytes: SIZE }];
  const agent = new SourceEnd(lab, { ...BASICS, address: link.address, port, disks }, { namespace: link.left });
  const reached = async (share: number): Promise<void> => {
    for (;;) {
      const { progress, disks: states, error } = await sink.status();
      assert.equal(progress, 'running', JSON.stringify(error));
      if ((states[0]?.copiedBytes ?? 0) >= share * SIZE) return;
      await sleep(20);
    }
  };
  return { link, source, replica, sink, agent, reached };
}

export async function right({ sink, source, replica }: Scene): Promise<void> {
  await sink.tune({ bytesPerSecond: null });
  const { progress, error, wireBytes } = await sink.finished();
  assert.deepEqual([progress, error], ['done', null]);
  // What is lost with a connection is what it had of its block, and what the sockets held.
  assert.ok(wireBytes <= 1.1 * SIZE, `${wireBytes} bytes for ${SIZE}`);
  assert.equal((await sink.verify()).progress, 'done');
  assert.ok(same(replica, source));
}

/** Cuts the link until the connections are given up, and mends it: new ones go on where it was. */
export async function survivesCut(lab: Lab, what: 'both ways' | 'one way'): Promise<void> {
  const s = await scene(lab);
  await s.reached(0.3);
  s.link.cut(what);
  for (;;) {
    const { reconnects, progress, error } = await s.sink.status();
    assert.equal(progress, 'running', JSON.stringify(error));
    if (reconnects >= 2) break;
    await sleep(100);
  }
  s.link.mend();
  await right(s);
}
