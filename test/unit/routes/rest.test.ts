import assert from 'node:assert/strict';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { ERROR_CODES, isErrorCode } from '../../../appliance/api/errors.ts';
import type { Hypervisor, JobView } from '../../../appliance/api/rest.ts';
import { Store } from '../../../appliance/store/store.ts';
import { VERSION } from '../../../appliance/version.ts';
import { enrol, newKeys, shownCode } from '../../lab/orchestrator/agent.ts';
import { job } from '../../lab/orchestrator/job.ts';
import { type Answer, ask, orchestrator, type TestOrchestrator, until } from '../../lab/orchestrator/orchestrator.ts';

/** Starts with these jobs in the store. */
const withJobs = (...jobs: ReturnType<typeof job>[]) => ({
  prepare: async (state: string) => {
    const store = await Store.open(state);
    for (const each of jobs) await store.save(each);
    await store.close();
  },
});

/** The answer is a WireError of this code, with the status of the list and nothing else. */
function refused(answer: Answer, code: string): { message: string } {
  const error = answer.json() as Record<string, string>;
  assert.deepEqual(Object.keys(error).sort(), ['code', 'message', 'next', 'safe'], answer.text);
  assert.equal(error.code, code, answer.text);
  assert.ok(isErrorCode(error.code));
  assert.equal(answer.status, ERROR_CODES[error.code].status);
  assert.match(answer.type, /^application\/json/);
  return { message: error.message ?? '' };
}

async function approved(server: TestOrchestrator): Promise<string> {
  const keys = newKeys();
  const { proof } = await enrol(server.port, server.identity.caPem, keys);
  const code = await shownCode(keys, server.identity.caDer);
  const answer = await ask(server.socket, 'POST', `/api/v1/machines/${proof.machineId}/approve`, { code, name: 'db' });
  assert.equal(answer.status, 200, answer.text);
  return proof.machineId;
}

void test("rest: health says the version of package.json; the socket is 0600 and root's", async (t) => {
  const server = await orchestrator(t);
  const answer = await ask(server.socket, 'GET', '/api/v1/health');
  assert.deepEqual([answer.status, answer.json()], [200, { ok: true, version: VERSION, machines: 0, jobsRunning: 0 }]);
  const manifest = JSON.parse(await readFile(join(import.meta.dirname, '../../../package.json'), 'utf8'));
  assert.equal(manifest.version, VERSION);
  assert.equal((await stat(server.socket)).mode & 0o777, 0o600);
});

void test('rest: jobs are listed and shown with all their fields; an unknown one is JOB_UNKNOWN', async (t) => {
  const stored = job('abcdef', {
    warnings: ['no swap'],
    proof: { kind: 'login-prompt', evidence: 'x login:', seconds: 1.5, screenshot: null },
  });
  const server = await orchestrator(t, withJobs(stored, job('bbbbbb', { state: 'failed' })));
  const all = (await ask(server.socket, 'GET', '/api/v1/jobs')).json() as JobView[];
  assert.deepEqual(all.map((view) => view.job.id).sort(), ['abcdef', 'bbbbbb']);
  const one = await ask(server.socket, 'GET', '/api/v1/jobs/abcdef');
  assert.deepEqual(one.json(), { job: stored, progress: null });
  refused(await ask(server.socket, 'GET', '/api/v1/jobs/cccccc'), 'JOB_UNKNOWN');
  refused(await ask(server.socket, 'POST', '/api/v1/jobs/cccccc/cancel'), 'JOB_UNKNOWN');
  refused(await ask(server.socket, 'POST', '/api/v1/jobs/abcdef/cancel'), 'JOB_ENDED');
  refused(await ask(server.socket, 'POST', '/api/v1/jobs/abcdef/retry'), 'JOB_ENDED');
});

void test('rest: pause, resume, limits and verify of a job that has ended, or is not there, are refused; each is audited', async (t) => {
  const server = await orchestrator(t, withJobs(job('abcdef'), job('bbbbbb', { replicaVerified: true })));
  const post = (path: string) => ask(server.socket, 'POST', `/api/v1/jobs/${path}`);
  const patch = (id: string, body: unknown) => ask(server.socket, 'PATCH', `/api/v1/jobs/${id}/limits`, body);
  for (const action of ['pause', 'resume', 'verify']) refused(await post(`cccccc/${action}`), 'JOB_UNKNOWN');
  for (const action of ['pause', 'resume']) refused(await post(`abcdef/${action}`), 'JOB_ENDED');
  refused(await post('abcdef/verify'), 'REQUEST_INVALID');
  assert.match(refused(await post('bbbbbb/verify'), 'NOT_FOUND').message, /no manifest/);
  refused(await patch('cccccc', { backOff: true }), 'JOB_UNKNOWN');
  refused(await patch('abcdef', { backOff: true }), 'JOB_ENDED');
  for (const [body, field] of [
    [{}, /./],
    [{ bytesPerSecond: 1 }, /bytesPerSecond/],
    [{ bytesPerSecond: 'fast' }, /bytesPerSecond/],
    [{ readPriority: 'high' }, /readPriority/],
    [{ backOff: 'on' }, /backOff/],
    [{ name: 'other' }, /'name'/],
  ] as const) {
    assert.match(refused(await patch('abcdef', body), 'REQUEST_INVALID').message, field);
  }
  const audit = (await readFile(join(server.state, 'audit.log'), 'utf8')).trimEnd().split('\n');
  const entries = audit.map((line) => JSON.parse(line) as { what: string; result: string });
  for (const what of ['job.pause', 'job.resume', 'job.verify', 'job.limit'])
    assert.ok(
      entries.some((entry) => entry.what === what && entry.result !== 'ok'),
      what,
    );
});

void test('rest: a job is paused, limited and resumed while it waits, and all of it outlives a restart', async (t) => {
  // Its hypervisor cannot be reached: it waits in its state.
  const server = await orchestrator(t, withJobs(job('abcdef', { state: 'overlay' })));
  const call = async (at: TestOrchestrator, method: string, path: string, body?: unknown) => {
    const answer = await ask(at.socket, method, `/api/v1/jobs/abcdef${path}`, body);
    assert.equal(answer.status, 200, answer.text);
    return (answer.json() as JobView).job;
  };
  assert.equal((await call(server, 'POST', '/pause')).pauseRequested, true);
  assert.equal((await call(server, 'POST', '/pause')).pauseRequested, true);
  await call(server, 'PATCH', '/limits', { bytesPerSecond: 1_000_000, readPriority: 'low' });
  const limited = await call(server, 'PATCH', '/limits', { bytesPerSecond: null, backOff: true });
  assert.deepEqual(limited.order, { machine: 'm', name: 'copy-1', readPriority: 'low', backOff: true });
  await server.close();
  const again = await orchestrator(t, { folder: join(server.state, '..') });
  await until('it stands still', async () => (await call(again, 'GET', '')).paused?.code === 'PAUSED');
  assert.deepEqual((await call(again, 'GET', '')).order, limited.order);
  assert.equal((await call(again, 'POST', '/resume')).pauseRequested, false);
  assert.equal((await call(again, 'POST', '/resume')).pauseRequested, false);
  await until('it waits for its hypervisor', async () => {
    const { paused } = await call(again, 'GET', '');
    return paused?.code === 'HYPERVISOR_UNREACHABLE';
  });
  await call(again, 'POST', '/cancel');
});

void test('rest: log and screenshot of a job; none yet', async (t) => {
  const server = await orchestrator(t, withJobs(job('abcdef')));
  const none = await ask(server.socket, 'GET', '/api/v1/jobs/abcdef/log');
  assert.deepEqual([none.status, none.text, none.type], [200, '', 'text/plain; charset=utf-8']);
  refused(await ask(server.socket, 'GET', '/api/v1/jobs/abcdef/screenshot'), 'NOT_FOUND');
  const folder = join(server.state, 'jobs', 'abcdef');
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'log.txt'), 'one\ntwo\n');
  await writeFile(join(folder, 'screenshot.png'), 'not really PNG');
  assert.equal((await ask(server.socket, 'GET', '/api/v1/jobs/abcdef/log')).text, 'one\ntwo\n');
  const screenshot = await ask(server.socket, 'GET', '/api/v1/jobs/abcdef/screenshot');
  assert.deepEqual([screenshot.text, screenshot.type], ['not really PNG', 'image/png']);
});

void test('rest: names that would leave a folder name nothing', async (t) => {
  const server = await orchestrator(t, withJobs(job('abcdef')));
  for (const evil of ['..%2f..%2fetc%2fpasswd', '%2e%2e', '<b>', "'%22", '%00', 'x'.repeat(200)]) {
    for (const path of [`/api/v1/jobs/${evil}/log`, `/api/v1/jobs/${evil}/screenshot`, `/api/v1/jobs/${evil}`]) {
      const answer = await ask(server.socket, 'GET', path);
      assert.ok([400, 404].includes(answer.status), `${path}: ${answer.text}`);
      const unknown = answer.text.includes('JOB_UNKNOWN') ? 'JOB_UNKNOWN' : 'NOT_FOUND';
      refused(answer, answer.status === 400 ? 'REQUEST_INVALID' : unknown);
    }
    refused(await ask(server.socket, 'DELETE', `/api/v1/machines/${evil}`), 'MACHINE_UNKNOWN');
  }
});

void test('rest: orders are checked whole; each refusal names the field and changes nothing', async (t) => {
  const server = await orchestrator(t);
  const machine = await approved(server);
  const order = { machine, name: 'copy-1' };
  const post = (body: unknown) => ask(server.socket, 'POST', '/api/v1/jobs', body);
  const bad: [unknown, string, RegExp][] = [
    [{ ...order, colour: 'red' }, 'REQUEST_INVALID', /'colour'/],
    [{ ...order, cpus: '4' }, 'REQUEST_INVALID', /cpus/],
    [{ ...order, cpus: 0 }, 'REQUEST_INVALID', /cpus/],
    [{ ...order, memoryBytes: 1.5e9 + 0.5 }, 'REQUEST_INVALID', /memoryBytes/],
    [{ ...order, disks: ['../sda'] }, 'REQUEST_INVALID', /disks\/0/],
    [{ ...order, disks: [] }, 'REQUEST_INVALID', /disks/],
    [{ ...order, address: 'static' }, 'REQUEST_INVALID', /address/],
    [{ machine }, 'REQUEST_INVALID', /name/],
    [{ ...order, name: '../../etc' }, 'NAME_INVALID', /name/],
    [{ ...order, name: '<vm>"\'' }, 'NAME_INVALID', /name/],
    [{ ...order, pool: 'a/b' }, 'NAME_INVALID', /pool/],
    [{ ...order, machine: 'nobody' }, 'MACHINE_UNKNOWN', /nobody/],
    [order, 'HYPERVISOR_UNREACHABLE', /No hypervisor runs/],
    [{ ...order, hypervisor: 'other' }, 'HYPERVISOR_UNKNOWN', /other/],
    ['{"machine":', 'REQUEST_INVALID', /JSON/],
    ['[]', 'REQUEST_INVALID', /object/],
    ['null', 'REQUEST_INVALID', /object/],
    ['{"__proto__":{"cpus":1}}', 'REQUEST_INVALID', /./],
    [{ ...order, name: 'x'.repeat(70 * 1024) }, 'REQUEST_TOO_LARGE', /./],
  ];
  for (const [body, code, message] of bad) assert.match(refused(await post(body), code).message, message);
  assert.deepEqual((await ask(server.socket, 'GET', '/api/v1/jobs')).json(), []);
  const audit = (await readFile(join(server.state, 'audit.log'), 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  const orders = audit.filter((entry) => entry.what === 'job.order');
  assert.deepEqual(
    orders.map((entry) => entry.result),
    ['MACHINE_UNKNOWN', 'HYPERVISOR_UNREACHABLE', 'HYPERVISOR_UNKNOWN'],
  );
  assert.equal(orders[0]?.who, 'local socket');
});

void test('rest: approvals are checked whole', async (t) => {
  const server = await orchestrator(t);
  const machine = await approved(server);
  const post = (name: string, body: unknown) => ask(server.socket, 'POST', `/api/v1/machines/${name}/approve`, body);
  assert.match(refused(await post(machine, { code: '0000-0000' }), 'REQUEST_INVALID').message, /approved already/);
  assert.match(refused(await post(machine, {}), 'REQUEST_INVALID').message, /code/);
  assert.match(refused(await post(machine, { code: 'x'.repeat(33) }), 'REQUEST_INVALID').message, /code/);
  assert.match(refused(await post(machine, { code: '1', admin: true }), 'REQUEST_INVALID').message, /admin/);
  refused(await post('nobody', { code: '0000-0000' }), 'MACHINE_UNKNOWN');
  refused(await ask(server.socket, 'POST', `/api/v1/machines/${machine}/approve`), 'REQUEST_INVALID');
});

void test('rest: a machine that a running job copies is not forgotten', async (t) => {
  const server = await orchestrator(t);
  const machine = await approved(server);
  await server.close();
  const again = await orchestrator(t, {
    folder: join(server.state, '..'),
    ...withJobs(job('abcdef', { state: 'clean-up', machineId: machine })),
  });
  refused(await ask(again.socket, 'DELETE', `/api/v1/machines/${machine}`), 'MACHINE_BUSY');
});

void test('rest: a hypervisor that cannot be reached says so in the list', async (t) => {
  const server = await orchestrator(t);
  const [local] = (await ask(server.socket, 'GET', '/api/v1/hypervisors')).json() as Hypervisor[];
  assert.deepEqual([local?.name, local?.reachable, local?.error], ['local', false, 'No hypervisor runs in this test.']);
});

void test('rest: unknown routes and methods, and what is not HTTP, are answered as errors', async (t) => {
  const server = await orchestrator(t);
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/api/v1/nothing'],
    ['PUT', '/api/v1/jobs'],
    ['GET', '/control/agent'],
    ['GET', '/api/v1/%zz'],
  ] as const) {
    const answer = await ask(server.socket, method, path);
    refused(answer, answer.status === 404 ? 'NOT_FOUND' : 'REQUEST_INVALID');
  }
  const text = await new Promise<string>((resolve, reject) => {
    let said = '';
    const socket = connect({ path: server.socket }, () => socket.write('\x16\x03\x01 hello\r\n\r\n'));
    socket.on('data', (part) => {
      said += part.toString();
    });
    socket.on('close', () => resolve(said));
    socket.on('error', reject);
  });
  assert.match(text, /^HTTP\/1\.1 400 [\s\S]*"code":"REQUEST_INVALID"/);
});
