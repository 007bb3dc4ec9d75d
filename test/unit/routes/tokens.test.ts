import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:https';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { WebSocket } from 'ws';
import { ORCHESTRATOR_NAME } from '../../../appliance/api/transfer.ts';
import { ask, orchestrator, type TestOrchestrator } from '../../lab/orchestrator/orchestrator.ts';

/** One request over HTTPS, with this Authorization header. */
function secure(
  server: TestOrchestrator,
  method: string,
  path: string,
  authorization?: string,
): Promise<{ status: number; code: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port: server.port,
        servername: ORCHESTRATOR_NAME,
        ca: server.identity.caPem,
        method,
        path,
        headers: authorization === undefined ? {} : { authorization },
        agent: false,
      },
      (response) => {
        let text = '';
        response.on('data', (part: Buffer) => {
          text += part.toString();
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, code: JSON.parse(text).code ?? '' }));
      },
    );
    asked.on('error', reject);
    asked.end();
  });
}

async function create(server: TestOrchestrator, name: string, role: string): Promise<string> {
  const answer = await ask(server.socket, 'POST', '/api/v1/tokens', { name, role });
  assert.equal(answer.status, 201, answer.text);
  return `Bearer ${(answer.json() as { token: string }).token}`;
}

void test('tokens: HTTPS without a valid bearer token is 401, on every route of the API', async (t) => {
  const server = await orchestrator(t);
  for (const authorization of [
    undefined,
    '',
    'Bearer ',
    'Bearer x',
    `Bearer ${'A'.repeat(43)}`,
    'Basic cm9vdDpyb290',
    'Bearer a b',
  ]) {
    for (const path of ['health', 'machines', 'jobs', 'tokens', 'hypervisors']) {
      const answer = await secure(server, 'GET', `/api/v1/${path}`, authorization);
      assert.deepEqual([answer.status, answer.code], [401, 'NOT_AUTHORISED'], `${path} ${authorization}`);
    }
    assert.equal((await secure(server, 'DELETE', '/api/v1/machines/x', authorization)).status, 401);
  }
});

void test('tokens: each role may do its own, and not more', async (t) => {
  const server = await orchestrator(t);
  const viewer = await create(server, 'viewer-1', 'viewer');
  const operator = await create(server, 'operator-1', 'operator');
  const admin = await create(server, 'admin-1', 'admin');
  const codes = async (token: string): Promise<string[]> => {
    const answers = [
      await secure(server, 'GET', '/api/v1/machines', token),
      await secure(server, 'DELETE', '/api/v1/machines/nobody', token),
      await secure(server, 'GET', '/api/v1/tokens', token),
    ];
    return answers.map(({ status, code }) => `${status} ${code}`.trim());
  };
  assert.deepEqual(await codes(viewer), ['200', '403 ROLE_TOO_LOW', '403 ROLE_TOO_LOW']);
  assert.deepEqual(await codes(operator), ['200', '404 MACHINE_UNKNOWN', '403 ROLE_TOO_LOW']);
  assert.deepEqual(await codes(admin), ['200', '404 MACHINE_UNKNOWN', '200']);

  const listed = (await ask(server.socket, 'GET', '/api/v1/tokens')).text;
  assert.ok(!listed.includes('hash') && !listed.includes(viewer.slice(7)));
  assert.equal((await ask(server.socket, 'DELETE', '/api/v1/tokens/viewer-1')).status, 204);
  assert.equal((await secure(server, 'GET', '/api/v1/machines', viewer)).status, 401);
});

void test('tokens: the event stream over HTTPS needs one too', async (t) => {
  const server = await orchestrator(t);
  const token = await create(server, 'viewer-1', 'viewer');
  const open = (headers: Record<string, string>) => {
    const options = { ca: server.identity.caPem, servername: ORCHESTRATOR_NAME, headers };
    return new WebSocket(`wss://127.0.0.1:${server.port}/api/v1/events`, options);
  };
  const [error] = await once(open({}), 'error');
  assert.match(String(error), /401/);
  const socket = open({ authorization: token });
  await once(socket, 'open');
  socket.close();
  await once(socket, 'close');
});

void test('tokens: nothing below TLS 1.3 is spoken', async (t) => {
  const server = await orchestrator(t);
  const socket = connect({
    host: '127.0.0.1',
    port: server.port,
    ca: server.identity.caPem,
    servername: ORCHESTRATOR_NAME,
    maxVersion: 'TLSv1.2',
  });
  await assert.rejects(once(socket, 'secureConnect'), /protocol version/);
});
