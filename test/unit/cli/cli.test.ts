import assert from 'node:assert/strict';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { JobView, Machine } from '../../../appliance/api/rest.ts';
import { COMMANDS } from '../../../appliance/cli/commands.ts';
import { dispatch } from '../../../appliance/cli/dispatch.ts';
import { listenUnix } from '../../../appliance/listen.ts';
import { Store } from '../../../appliance/store/store.ts';
import { enrol, newKeys, shownCode } from '../../lab/orchestrator/agent.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';
import { inventory } from '../../lab/orchestrator/inventory.ts';
import { job } from '../../lab/orchestrator/job.ts';
import { orchestrator } from '../../lab/orchestrator/orchestrator.ts';

interface Run {
  code: number;
  out: string;
  err: string;
}

/** Runs one command line as main.ts does; `columns` makes the output a terminal. */
async function rehost(argv: string[], columns?: number): Promise<Run> {
  const out = Object.assign(new PassThrough(), columns === undefined ? {} : { isTTY: true, columns });
  const err = new PassThrough();
  const code = await dispatch(argv, { out, err });
  return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
}

void test('cli: help names every command, each with its own help; wrong usage is exit code 2', async () => {
  const help = await rehost(['--help']);
  assert.equal(help.code, 0);
  for (const { name } of COMMANDS) {
    assert.match(help.out, new RegExp(`^  ${name} `, 'm'));
    for (const argv of [
      ['help', name],
      [name, '--help'],
    ]) {
      const own = await rehost(argv);
      assert.deepEqual([own.code, own.err], [0, '']);
      assert.match(own.out, new RegExp(`^Usage: rehost ${name}`));
    }
  }
  for (const argv of [
    [],
    ['nothing'],
    ['help', 'nothing'],
    ['approve', 'x'],
    ['jobs', 'x'],
    ['jobs', '--colour'],
    ['clone', 'm'],
  ]) {
    assert.equal((await rehost(argv)).code, 2, argv.join(' '));
  }
});

void test('cli: options of clone are documented, and each documented one exists', () => {
  for (const command of COMMANDS) {
    const documented = Object.keys(command.optionHelp ?? {}).map((text) => text.split(' ')[0]?.slice(2));
    assert.deepEqual(new Set(documented), new Set(Object.keys(command.options)), command.name);
  }
});

void test('cli: without rehostd every command says so, exit code 5', async (t) => {
  const socket = join(await temporaryFolder(t), 'none.sock');
  const run = await rehost(['machines', '--socket', socket]);
  assert.equal(run.code, 5);
  assert.match(run.err, /^rehost: ORCHESTRATOR_UNREACHABLE: .*none\.sock.*\n {2}safe: .*\n {2}next: .*\n$/);
  const json = await rehost(['machines', '--json', '--socket', socket]);
  assert.equal(JSON.parse(json.err).error.code, 'ORCHESTRATOR_UNREACHABLE');
  assert.equal(json.out, '');
});

void test('cli: a machine is listed, approved with its code, and forgotten', async (t) => {
  const server = await orchestrator(t);
  const keys = newKeys();
  const { proof } = await enrol(server.port, server.identity.caPem, keys);
  const at = (...argv: string[]) => rehost([...argv, '--socket', server.socket]);
  assert.match(
    (await at('machines')).out,
    /Server 1000 ABC123 +waits for approval, online +127\.0\.0\.1 +2 +2\.0 GiB +sda 8\.0 GiB/,
  );
  const wrong = await at('approve', proof.machineId, '0000-0000');
  assert.equal(wrong.code, 4);
  assert.match(wrong.err, /PAIRING_CODE_WRONG/);
  assert.equal((await at('approve', 'nobody', '0000-0000')).code, 3);
  assert.equal((await at('approve', '..', '0000-0000')).code, 3);
  const code = await shownCode(keys, server.identity.caDer);
  const approved = await at('approve', proof.machineId.slice(0, 6), code, '--name', '../db "1"');
  assert.deepEqual([approved.code, approved.out], [0, `${proof.machineId} is approved as '../db "1"'.\n`]);
  const [machine] = JSON.parse((await at('machines', '--json')).out) as Machine[];
  assert.equal(machine?.approved, true);
  assert.equal((await at('forget', '../db "1"')).code, 0);
  assert.deepEqual(JSON.parse((await at('machines', '--json')).out), []);
});

void test('cli: what a machine says of itself never reaches the terminal as control characters', async (t) => {
  const server = await orchestrator(t);
  const evil = inventory({ product: 'a\u001b]0;owned\u0007\u009b2J\u202eb', serial: '\r\nrow' });
  evil.disks[0] = { ...(evil.disks[0] ?? assert.fail()), model: '\u009b31m' };
  await enrol(server.port, server.identity.caPem, newKeys(), evil);
  for (const argv of [['machines'], ['machines', '--json']]) {
    const { out } = await rehost([...argv, '--socket', server.socket]);
    assert.doesNotMatch(out.replaceAll('\n', ''), /\p{Cc}/u);
  }
});

void test('cli: clone refuses what is no number or size before it asks, and passes the rest on', async (t) => {
  const server = await orchestrator(t);
  const at = (...argv: string[]) => rehost(['clone', 'nobody', '--socket', server.socket, ...argv]);
  for (const argv of [
    ['--cpus', 'four'],
    ['--memory', '4'],
    ['--memory', '4X'],
    ['--cpus', '-1'],
  ]) {
    const run = await at('--name', 'x', ...argv);
    assert.deepEqual([run.code, run.err.split(':')[1]?.trim()], [2, 'REQUEST_INVALID'], argv.join(' '));
  }
  assert.match((await at('--name', 'x', '--memory', '4G', '--disks', 'sda,sdb')).err, /MACHINE_UNKNOWN/);
  assert.match((await at('--name', '../x')).err, /NAME_INVALID/);
  assert.match((await at('--name', 'x', '--memory', '1M')).err, /memoryBytes/);
});

void test('cli: jobs, show and log of a job that ended; watch tells by its exit code how', async (t) => {
  const done = job('abcdef', {
    proof: { kind: 'login-prompt', evidence: 'db login:', seconds: 61.5, screenshot: null },
    replicaVerified: true,
    warnings: ["VM 'copy-1' did not shut down."],
  });
  const error = { code: 'POOL_FULL', message: 'The pool is full.', safe: 'The source.', next: 'Make room.' };
  const server = await orchestrator(t, {
    prepare: async (state) => {
      const store = await Store.open(state);
      await store.save(done);
      await store.save(job('bbbbbb', { state: 'failed', error }));
      await store.close();
      await mkdir(join(state, 'jobs/abcdef'), { recursive: true });
      await writeFile(join(state, 'jobs/abcdef/log.txt'), 'one\n\u001b[2Jtwo\n');
    },
  });
  const at = (...argv: string[]) => rehost([...argv, '--socket', server.socket]);
  assert.match((await at('jobs')).out, /abcdef +done +0123456789abcdef +copy-1 +local/);
  assert.match((await at('show', 'abcdef')).out, /proof +login-prompt after 61\.5 s: db login:/);
  assert.match(
    (await at('show', 'bbbbbb')).out,
    /error +POOL_FULL: The pool is full\.\nsafe +The source\.\nnext +Make room\./,
  );
  assert.equal((await at('log', 'abcdef')).out, 'one\n\ufffd[2Jtwo\n');
  assert.match((await at('show', 'abcdef')).out, /verified +yes: .*the source may be switched off/);
  const ended = await at('watch', 'abcdef');
  assert.deepEqual(
    [ended.code, ended.out],
    [0, "Job abcdef ended: done.\nwarning: VM 'copy-1' did not shut down.\nproof: db login:\n"],
  );
  const failed = await at('watch', 'bbbbbb');
  assert.deepEqual(
    [failed.code, failed.err],
    [1, 'rehost: POOL_FULL: The pool is full.\n  safe: The source.\n  next: Make room.\n'],
  );
  assert.equal((await at('watch', 'cccccc')).code, 3);
  assert.equal((await at('cancel', 'abcdef')).code, 4);
  assert.equal((JSON.parse((await at('show', 'abcdef', '--json')).out) as JobView).job.id, 'abcdef');
});

void test('cli: watch draws progress, outlives a restart of rehostd, and ends with the job', async (t) => {
  const folder = await temporaryFolder(t);
  const socket = join(folder, 'rehost.sock');
  const progress = {
    state: 'copy',
    doneBytes: 3 * 2 ** 30,
    totalBytes: 4 * 2 ** 30,
    wireBytes: 1,
    bytesPerSecond: 85e6,
    wireBytesPerSecond: 41e6,
    secondsLeft: 3725,
    retries: 2,
    reconnects: 1,
    disks: [],
    note: '',
  };
  const views: JobView[] = [
    { job: job('abcdef', { state: 'copy' }), progress: { ...progress, state: 'copy' } },
    { job: job('abcdef', { state: 'done' }), progress: null },
  ];
  // A server that answers one request, goes away, and comes back with the next answer.
  const serve = async (view: JobView): Promise<void> => {
    const server = createServer((_request, response) => {
      response.setHeader('connection', 'close').end(JSON.stringify(view));
      server.close();
    });
    await listenUnix(server, socket);
    await new Promise((resolve) => server.once('close', resolve));
  };
  const run = rehost(['watch', 'abcdef', '--socket', socket], 200);
  for (const view of views) await serve(view);
  const { code, out } = await run;
  assert.equal(code, 0);
  assert.match(
    out,
    /copy {2}\[#{18}\.{6}\] 75 % {2}3\.0 GiB of 4\.0 GiB {2}85\.0 MB\/s {2}wire 41\.0 MB\/s {2}1 h 2 min left {2}2 retries/,
  );
  assert.match(out, /Job abcdef ended: done\.\n$/);
});

void test('cli: pause, limit, resume and verify; what they refuse is said before anything is asked', async (t) => {
  const server = await orchestrator(t, {
    prepare: async (state) => {
      const store = await Store.open(state);
      await store.save(job('abcdef', { state: 'overlay', attempts: 2 }));
      await store.save(job('bbbbbb', { lastCheck: { at: '2026-01-02', ok: false, message: 'VERIFY_MISMATCH: sda' } }));
      await store.close();
    },
  });
  const at = (...argv: string[]) => rehost([...argv, '--socket', server.socket]);
  assert.match((await at('pause', 'abcdef')).out, /abcdef is being paused; 'rehost resume abcdef'/);
  assert.match((await at('jobs')).out, /abcdef +overlay, (pause requested|HYPERVISOR_UNREACHABLE|PAUSED)/);
  for (const argv of [
    [],
    ['--rate', 'fast'],
    ['--rate', '5'],
    ['--back-off', 'maybe'],
    ['--priority', 'high'],
    ['--rate', '1K'],
  ])
    assert.equal((await at('limit', 'abcdef', ...argv)).code, 2, argv.join(' '));
  assert.equal(
    (await at('limit', 'abcdef', '--rate', '50M', '--priority', 'low', '--back-off', 'on')).out,
    'Job abcdef: at most 50.0 MiB per second, priority low, back-off on.\n',
  );
  assert.equal(
    (await at('limit', 'abcdef', '--rate', 'none')).out,
    'Job abcdef: no limit, priority low, back-off on.\n',
  );
  const shown = (await at('show', 'abcdef')).out;
  assert.match(shown, /limits +no limit, priority low, back-off on\n/);
  assert.match(shown, /attempts +2\n/);
  assert.match((await at('resume', 'abcdef')).out, /abcdef goes on/);
  assert.equal((await at('pause', 'bbbbbb')).code, 4);
  assert.equal((await at('verify', 'bbbbbb')).code, 2);
  assert.equal((await at('verify', 'cccccc')).code, 3);
  assert.match((await at('show', 'bbbbbb')).out, /check +At 2026-01-02 the replica DIFFERS: VERIFY_MISMATCH: sda/);
});

void test('cli: verify shows the check and tells by its exit code what was found', async (t) => {
  for (const [ok, code, text] of [
    [true, 0, /is as it was verified: all well/],
    [false, 1, /DIFFERS: all well/],
    [null, 1, /could not be checked: all well/],
  ] as const) {
    const socket = join(await temporaryFolder(t), 'rehost.sock');
    const lastCheck = { at: '2026-01-02', ok, message: 'all well' };
    const answers: JobView[] = [
      { job: job('abcdef', { state: 'recheck' }), progress: null },
      { job: job('abcdef', { state: 'recheck' }), progress: null },
      { job: job('abcdef', { lastCheck }), progress: null },
    ];
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`);
      response.end(JSON.stringify(answers.shift()));
    });
    await listenUnix(server, socket);
    atEnd(t, async () => {
      server.close();
    });
    const run = await rehost(['verify', 'abcdef', '--socket', socket]);
    assert.deepEqual([run.code, run.err], [code, '']);
    assert.match(run.out, text);
    assert.deepEqual(asked, ['POST /api/v1/jobs/abcdef/verify', ...Array(2).fill('GET /api/v1/jobs/abcdef')]);
  }
});

void test('cli: an answer that does not fit its schema, or is none, is PROTOCOL_VIOLATION', async (t) => {
  for (const [status, body] of [
    [200, '{"ok":"yes"}'],
    [200, 'garbage'],
    [500, '{"code":"toString"}'],
    [500, '<html>'],
  ] as const) {
    const folder = await temporaryFolder(t);
    const server = createServer((_request, response) => response.writeHead(status).end(body));
    const socket = join(folder, 'rehost.sock');
    await listenUnix(server, socket);
    atEnd(t, async () => {
      server.close();
    });
    assert.match((await rehost(['health', '--socket', socket])).err, /PROTOCOL_VIOLATION/, body);
  }
});

void test('cli: tokens are created, listed and revoked', async (t) => {
  const server = await orchestrator(t);
  const at = (...argv: string[]) => rehost(['token', ...argv, '--socket', server.socket]);
  const created = await at('create', 'monitoring', '--role', 'viewer', '--days', '30');
  assert.match(created.out, /^[A-Za-z0-9_-]{43}\n$/);
  assert.match((await at('list')).out, /monitoring +viewer/);
  assert.equal((await at('create', 'monitoring', '--role', 'viewer')).code, 4);
  assert.equal((await at('create', 'x', '--role', 'god')).code, 2);
  assert.equal((await at('create', 'x')).code, 2);
  assert.equal((await at('revoke', 'monitoring')).code, 0);
  assert.equal((await at('revoke', 'monitoring')).code, 3);
  assert.equal((await at('destroy', 'monitoring')).code, 2);
});

void test('cli: a socket that may not be opened is explained', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'file');
  await writeFile(path, '');
  await chmod(path, 0o600);
  assert.equal((await rehost(['health', '--socket', path])).code, 5);
});
