/** Storage that fails in part, for a moment, or for want of room, on either side; and sources that changed between two attempts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { type ExportSession, startExport } from '../../../agent/export/serve.ts';
import { journalLayout } from '../../../appliance/api/journal.ts';
import { type CopyBasics, type CopySession, startCopy } from '../../../receiver/copy/copy.ts';
import { Journal } from '../../../receiver/copy/journal.ts';
import { recordedDisks } from '../../../receiver/copy/recorded.ts';
import { startVerify } from '../../../receiver/copy/verify.ts';
import { openTarget } from '../../../receiver/target/open.ts';
import { DD, scriptedFile } from './served-file.ts';
import { contentOf, isZeros, JOB, Lab, MIB, patch, same, TOKEN, until } from './transfer-lab.ts';

const lab = new Lab();
after(() => lab.clean());
const SIZE = 48 * MIB;

interface Order extends Partial<CopyBasics> {
  replica: string;
  sizeBytes?: number;
  journal?: string;
  identity?: string;
  snapshot?: string;
}

function receive({ replica, sizeBytes = SIZE, journal, identity = 'a', ...basics }: Order): CopySession {
  const session = startCopy({
    jobId: JOB,
    token: TOKEN,
    connections: 2,
    listen: { host: '127.0.0.1', port: 0 },
    disks: [{ disk: 'sda', sizeBytes, target: { kind: 'device', path: replica }, identity }],
    bounds: { meeting: 60_000, copying: 60_000 },
    flushEveryMs: 200,
    ...basics,
    ...(journal === undefined ? {} : { journal }),
  });
  lab.later(() => session.stop());
  return session;
}

function serve(path: string, port: number, sizeBytes = SIZE): ExportSession {
  const disks = [{ disk: 'sda', path, sizeBytes }];
  const agent = startExport({ jobId: JOB, token: TOKEN, connections: 2, address: '127.0.0.1', port, disks });
  lab.later(() => agent.stop());
  return agent;
}

const journalVolume = (): string => lab.garbage(journalLayout([{ sizeBytes: SIZE }]).sizeBytes);
const flushedBytes = (session: CopySession): number => session.status().disks[0]?.flushedBytes ?? 0;

async function verified(session: CopySession): Promise<void> {
  const verify = startVerify(session.copied());
  await verify.finished;
  assert.deepEqual([verify.status().progress, verify.status().error], ['done', null]);
}

/** Copies until some of it is recorded, and ends the receiver and the agent then. */
async function begin(source: string, order: Order): Promise<number> {
  const session = receive({ bytesPerSecond: 16 * MIB, ...order });
  const agent = serve(source, session.port);
  await until('some is recorded', () => flushedBytes(session) > SIZE / 4 || session.status().progress !== 'running');
  assert.equal(session.status().progress, 'running', JSON.stringify(session.status().error));
  await session.stop();
  await agent.stop();
  return flushedBytes(session);
}

describe('a source with bad sectors', async () => {
  const content = lab.random(SIZE);
  const bad: [number, number][] = [
    [10 * MIB + 8192, 4096],
    [30 * MIB + 60 * 1024, 12 * 1024],
  ];
  const fails = bad.map(([offset, length]) => `[ $(($4 + $3)) -le ${offset} ] || [ $4 -ge ${offset + length} ]`);
  const pread = fails.map((good) => `{ ${good}; } || { echo EIO reading >&2; exit 1; }`).join('\n');
  const source = await scriptedFile(lab, content, { pread });

  /** Ranges that touch are one: parts of a block are read each by themselves. */
  function badOf(session: CopySession): [number, number][] {
    const joined: [number, number][] = [];
    for (const { offset, length } of session.status().disks[0]?.badRanges ?? []) {
      const last = joined.at(-1);
      if (last && last[0] + last[1] === offset) last[1] += length;
      else joined.push([offset, length]);
    }
    return joined;
  }

  function checkReplica(replica: string): void {
    let at = 0;
    for (const [offset, length] of [...bad, [SIZE, 0] as const]) {
      assert.ok(contentOf(replica, at, offset - at).equals(contentOf(content, at, offset - at)), `${at}-${offset}`);
      assert.ok(isZeros(contentOf(replica, offset, length)));
      at = offset + length;
    }
  }

  it('is an error that names the place, unless it is ordered otherwise', async () => {
    const session = receive({ replica: lab.garbage(SIZE) });
    serve(source, session.port);
    await session.finished;
    const { error, disks } = session.status();
    assert.equal(error?.code, 'SOURCE_READ_FAILED');
    const [, offset = ''] = /cannot read 65536 bytes at (\d+) \(tried 3 times\)/.exec(error?.message ?? '') ?? [];
    assert.ok(
      bad.some(([at]) => Number(offset) <= at && at < Number(offset) + 65536),
      error?.message,
    );
    assert.deepEqual(disks[0]?.badRanges, []);
  });

  it('is copied but for them when that is ordered; they are told, and read as zeros', async () => {
    const replica = lab.garbage(SIZE);
    const session = receive({ replica, onReadError: 'record' });
    serve(source, session.port);
    await session.finished;
    const { progress, error, retries } = session.status();
    assert.deepEqual([progress, error], ['done', null]);
    assert.deepEqual(badOf(session), bad);
    assert.ok(retries > 0);
    checkReplica(replica);
    await verified(session);
  });

  it('has them remembered by the journal: a later attempt tells them without reading them again', async () => {
    const order = { replica: lab.garbage(SIZE), journal: journalVolume(), onReadError: 'record' } as const;
    await begin(source, { ...order, bytesPerSecond: null });
    const last = receive(order);
    serve(source, last.port);
    await last.finished;
    assert.deepEqual([last.status().progress, last.status().error], ['done', null]);
    assert.deepEqual(badOf(last), bad);
    checkReplica(order.replica);
    await verified(last);
    // A third one has nothing left to do.
    const again = receive(order);
    serve(source, again.port);
    await again.finished;
    assert.deepEqual(badOf(again), bad);
    assert.equal(again.status().disks[0]?.resumedBytes, SIZE);
    assert.ok(again.status().wireBytes < 50_000);
  });
});

describe('a target that fails', () => {
  const source = lab.random(SIZE);

  for (const what of ['pwrite', 'flush'] as const) {
    it(`once in a ${what}: what was not flushed is copied again, and the result is right`, async () => {
      const inject = lab.path('inject');
      const backing = lab.garbage(SIZE);
      // What was written since the last flush is lost when one fails: that is what a failed flush means.
      const log = lab.path('unflushed');
      const lose = `while read at bytes; do dd if=/dev/urandom of=${backing} seek=$at count=$bytes ${DD}; done < ${log}`;
      const once = `rm ${inject} 2>/dev/null && { ${what === 'flush' ? lose : ':'}; echo EIO once >&2; exit 1; }`;
      const replica = await scriptedFile(lab, backing, {
        pwrite: `${what === 'pwrite' ? once : ''}\necho $4 $3 >> ${log}`,
        flush: `${what === 'flush' ? once : ''}\n: > ${log}`,
      });
      const session = receive({ replica, journal: journalVolume(), bytesPerSecond: 16 * MIB });
      serve(source, session.port);
      await until('some is flushed', () => flushedBytes(session) > 0 || session.status().progress !== 'running');
      const before = flushedBytes(session);
      writeFileSync(inject, '');
      await until('it failed', () => !existsSync(inject) || session.status().progress !== 'running');
      session.tune({ bytesPerSecond: null });
      await session.finished;
      assert.deepEqual([session.status().progress, session.status().error], ['done', null]);
      assert.ok(!existsSync(inject));
      const { wireBytes } = session.status();
      assert.ok(wireBytes <= 1.1 * (2 * SIZE - before), `${wireBytes} bytes; ${before} were flushed`);
      assert.ok(same(backing, source));
      await verified(session);
    });
  }

  it('for good is an error that names the place, and what was flushed before is recorded', async () => {
    const broken = lab.path('broken');
    const backing = lab.garbage(SIZE);
    const replica = await scriptedFile(lab, backing, { pwrite: `[ ! -e ${broken} ] || { echo EIO >&2; exit 1; }` });
    const journal = journalVolume();
    const session = receive({ replica, journal, bytesPerSecond: 16 * MIB });
    serve(source, session.port);
    await until('some is flushed', () => flushedBytes(session) > 0 || session.status().progress !== 'running');
    writeFileSync(broken, '');
    await session.finished;
    const { error } = session.status();
    assert.equal(error?.code, 'TARGET_WRITE_FAILED');
    assert.match(error?.message ?? '', /Writing \d+ bytes at \d+ failed: .*EIO/);
    rmSync(broken);
    const next = receive({ replica, journal });
    const agent = serve(source, next.port);
    await next.finished;
    assert.deepEqual([next.status().progress, next.status().error], ['done', null]);
    assert.ok((next.status().disks[0]?.resumedBytes ?? 0) > 0);
    assert.ok(next.status().wireBytes <= 1.1 * (SIZE - (next.status().disks[0]?.resumedBytes ?? 0)));
    await agent.stop();
    assert.ok(same(backing, source));
  });

  it('for want of room: the copy stands and says why, and goes on by itself when there is room', async () => {
    const image = lab.file(80 * MIB);
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-m', '0', image]);
    const mount = lab.path('small');
    mkdirSync(mount);
    execFileSync('mount', ['-o', 'loop', image, mount]);
    lab.later(() => {
      execFileSync('umount', [mount]);
    });
    const ballast = join(mount, 'ballast');
    execFileSync('fallocate', ['-l', String(40 * MIB), ballast]);
    const replica = join(mount, 'replica');
    execFileSync('truncate', ['-s', String(SIZE), replica]);
    const session = receive({ replica, journal: journalVolume(), bounds: { copying: 3_000 } });
    const agent = serve(source, session.port);
    await until('it stands', () => session.status().paused !== null || session.status().progress !== 'running');
    assert.equal(session.status().paused?.code, 'POOL_FULL', JSON.stringify(session.status().error));
    const stood = session.status().disks[0]?.copiedBytes ?? 0;
    assert.ok(stood < SIZE);
    // Longer than a copy may go without progress for any other reason.
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    assert.deepEqual([session.status().progress, session.status().paused?.code], ['running', 'POOL_FULL']);
    rmSync(ballast);
    await session.finished;
    assert.deepEqual(
      [session.status().progress, session.status().error, session.status().paused],
      ['done', null, null],
    );
    await agent.stop();
    assert.ok(same(replica, source));
    await verified(session);
    assert.ok(statSync(replica).blocks * 512 >= SIZE);
  });
});

describe('a second attempt', () => {
  it('copies only what the first has not recorded', async () => {
    const source = lab.random(SIZE);
    const order = { replica: lab.garbage(SIZE), journal: journalVolume() };
    const recorded = await begin(source, order);
    const session = receive(order);
    serve(source, session.port);
    await session.finished;
    const { progress, error, disks, wireBytes } = session.status();
    assert.deepEqual([progress, error, disks[0]?.resumedBytes], ['done', null, recorded]);
    assert.ok(wireBytes <= 1.1 * (SIZE - recorded), `${wireBytes} bytes for ${SIZE - recorded}`);
    assert.ok(same(order.replica, source));
    await verified(session);
  });

  it('is refused when the source is in another state, and nothing is touched', async () => {
    const source = lab.random(SIZE);
    const order = { replica: lab.garbage(SIZE), journal: journalVolume() };
    await begin(source, order);
    const before = execFileSync('sha256sum', [order.replica, order.journal], { encoding: 'utf8' });
    assert.throws(() => receive({ ...order, identity: 'b' }), { code: 'SOURCE_CHANGED' });
    assert.equal(execFileSync('sha256sum', [order.replica, order.journal], { encoding: 'utf8' }), before);
  });

  it('is refused when a block that was copied is another now, although nothing else tells', async () => {
    const source = lab.random(SIZE);
    const order = { replica: lab.garbage(SIZE), journal: journalVolume() };
    await begin(source, order);
    const [disk] = recordedDisks(order.journal, JOB, [
      { disk: 'sda', sizeBytes: SIZE, identity: 'a', target: { kind: 'device', path: order.replica } },
    ]);
    // Every recorded block is in the sample: there are fewer than it takes.
    const block = disk?.plan.numbers.at(-1) ?? -1;
    assert.ok(block > 0);
    const at = block * 4 * MIB + 123_456;
    patch(source, at, Buffer.from([(contentOf(source, at, 1)[0] ?? 0) ^ 1]));
    const session = receive(order);
    serve(source, session.port);
    await session.finished;
    assert.equal(session.status().error?.code, 'SOURCE_CHANGED', JSON.stringify(session.status()));
    assert.match(session.status().error?.message ?? '', new RegExp(`block ${block} is not what it was`));
    assert.throws(() => session.copied());
  });

  it('of another snapshot compares everything that is recorded, not a sample, and believes it from then on', async () => {
    const sizeBytes = 40 * 4 * MIB;
    const source = lab.random(sizeBytes);
    const journal = lab.garbage(journalLayout([{ sizeBytes }]).sizeBytes);
    const order = { sizeBytes, replica: lab.garbage(sizeBytes), journal };
    const attempt = async (snapshot: string): Promise<CopySession> => {
      const session = receive({ ...order, snapshot });
      const agent = serve(source, session.port, sizeBytes);
      await session.finished;
      await agent.stop();
      return session;
    };
    assert.equal((await attempt('first')).status().progress, 'done');
    const original = contentOf(source, 77 * MIB, 1);
    patch(source, 77 * MIB, Buffer.from([(original[0] ?? 0) ^ 1]));
    const changed = await attempt('second');
    assert.equal(changed.status().error?.code, 'SOURCE_CHANGED');
    assert.match(changed.status().error?.message ?? '', /block 19 is not what it was/);
    patch(source, 77 * MIB, original);
    const again = await attempt('second');
    assert.deepEqual([again.status().progress, again.status().disks[0]?.resumedBytes], ['done', sizeBytes]);
    assert.ok(again.status().wireBytes < MIB, `${again.status().wireBytes} bytes for hashes alone`);
    const opened = Journal.existing(
      openTarget({ kind: 'device', path: journal, readOnly: true }),
      { jobId: JOB, snapshot: '', disks: [{ disk: 'sda', sizeBytes, identity: 'a' }] },
      0,
    );
    assert.equal(opened.notes.snapshot, 'second');
    opened.close();
  });

  it('notices that also when nothing is left to copy', async () => {
    const source = lab.random(SIZE);
    const order = { replica: lab.garbage(SIZE), journal: journalVolume() };
    const first = receive(order);
    const agent = serve(source, first.port);
    await first.finished;
    await agent.stop();
    patch(source, 5 * MIB, Buffer.from('changed'));
    const session = receive(order);
    serve(source, session.port);
    await session.finished;
    assert.equal(session.status().error?.code, 'SOURCE_CHANGED');
  });
});

describe('an order to go slower', () => {
  const source = lab.random(SIZE);

  it('is obeyed, and so is its end', async () => {
    const limit = 8 * MIB;
    const session = receive({ replica: lab.garbage(SIZE), bytesPerSecond: limit });
    serve(source, session.port);
    await until('it began', () => session.status().wireBytes > MIB);
    const [bytes, ns] = [session.status().wireBytes, process.hrtime.bigint()];
    await until('some came', () => session.status().wireBytes > bytes + 12 * MIB);
    const rate = (session.status().wireBytes - bytes) / (Number(process.hrtime.bigint() - ns) / 1e9);
    // Two connections may each have saved up a step and a fifth of a second.
    assert.ok(rate <= 1.5 * limit, `${rate} bytes per second at a limit of ${limit}`);
    const left = SIZE - session.status().wireBytes;
    session.tune({ bytesPerSecond: null });
    const before = process.hrtime.bigint();
    await session.finished;
    const seconds = Number(process.hrtime.bigint() - before) / 1e9;
    assert.equal(session.status().progress, 'done');
    assert.ok(left / limit > seconds, `${left} bytes took ${seconds} s without the limit`);
  });

  it('to stand still is obeyed between two blocks, for longer than anything else may take, and the copy goes on', async () => {
    const replica = lab.garbage(SIZE);
    const session = receive({ replica, paused: true, bounds: { copying: 2_000 } });
    serve(source, session.port);
    await until('the map is there', () => session.status().disks[0]?.usedBytes !== null);
    assert.deepEqual(
      [session.status().paused?.code, session.status().disks[0]?.copiedBytes],
      ['PAUSED', 0],
      'it began so',
    );
    session.tune({ paused: false, bytesPerSecond: 16 * MIB });
    await until('some is copied', () => (session.status().disks[0]?.copiedBytes ?? 0) > 0);
    session.tune({ paused: true, bytesPerSecond: null });
    // What is in flight is finished.
    let seen = -1;
    await until('it stands', () => {
      const now = session.status().wireBytes;
      const stands = now === seen;
      seen = now;
      return stands;
    });
    await new Promise((resolve) => setTimeout(resolve, 4_000));
    const { progress, disks, paused } = session.status();
    assert.deepEqual([progress, paused?.code], ['running', 'PAUSED']);
    const copied = disks[0]?.copiedBytes ?? 0;
    assert.ok(copied < SIZE);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    assert.equal(session.status().disks[0]?.copiedBytes, copied);
    session.tune({ paused: false });
    await session.finished;
    assert.deepEqual([session.status().progress, session.status().reconnects], ['done', 0]);
    assert.ok(same(replica, source));
  });
});
