import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { WebSocket } from 'ws';
import type { ApiEvent } from '../../../appliance/api/rest.ts';
import { EventHub } from '../../../appliance/events.ts';
import { enrol, newKeys } from '../../lab/orchestrator/agent.ts';
import { orchestrator, type TestOrchestrator, until } from '../../lab/orchestrator/orchestrator.ts';

async function follow(server: TestOrchestrator, query = ''): Promise<{ events: ApiEvent[]; socket: WebSocket }> {
  const socket = new WebSocket(`ws+unix:${server.socket}:/api/v1/events${query}`);
  const events: ApiEvent[] = [];
  socket.on('message', (data: { toString(): string }) => events.push(JSON.parse(data.toString())));
  await once(socket, 'open');
  return { events, socket };
}

void test('events: each change is told with a cursor that grows by one; a cursor brings back what was missed', async (t) => {
  const server = await orchestrator(t);
  const { events, socket } = await follow(server);
  const { channel, proof } = await enrol(server.port, server.identity.caPem, newKeys());
  await until('the arrival is told', () => events.length === 1);
  assert.deepEqual([events[0]?.kind, events[0]?.id], ['machine', proof.machineId]);
  socket.close();
  await once(socket, 'close');
  channel.close();
  await until('the departure was logged', () => server.logged().includes('an agent left'));
  const cursor = events[0]?.cursor ?? 0;
  const again = await follow(server, `?after=${cursor}`);
  await until('the departure is told', () => again.events.length === 1);
  assert.deepEqual([again.events[0]?.cursor, again.events[0]?.id], [cursor + 1, proof.machineId]);
  again.socket.close();
});

void test('events: a client that talks is closed, a cursor that is none is refused', async (t) => {
  const server = await orchestrator(t);
  const { socket } = await follow(server);
  socket.send('hello');
  const [code] = await once(socket, 'close');
  assert.equal(code, 1008);
  const [error] = await once(new WebSocket(`ws+unix:${server.socket}:/api/v1/events?after=abc`), 'error');
  assert.match(String(error), /400/);
});

void test('events: a cursor of an earlier run, or too old, brings everything there is', () => {
  const hub = new EventHub(() => [
    { kind: 'machine', id: 'm1' },
    { kind: 'job', id: 'j1' },
  ]);
  const seen = (after: number | undefined): string[] => {
    const ids: string[] = [];
    hub.follow(after, (event) => ids.push(`${event.id}`))();
    return ids;
  };
  assert.deepEqual(seen(undefined), []);
  assert.deepEqual(seen(0), ['m1', 'j1']);
  assert.deepEqual(seen(Number.MAX_SAFE_INTEGER), ['m1', 'j1']);
  const cursors: number[] = [];
  const stop = hub.follow(undefined, (event) => cursors.push(event.cursor));
  for (let at = 0; at < 3; at++) hub.publish('job', `e${at}`);
  stop();
  const [first = 0] = cursors;
  assert.deepEqual(cursors, [first, first + 1, first + 2]);
  assert.deepEqual(seen(first), ['e1', 'e2']);
  assert.deepEqual(seen(first + 2), []);
  assert.deepEqual(seen(first - 1), ['e0', 'e1', 'e2']);
  for (let at = 0; at < 2000; at++) hub.publish('job', 'x');
  assert.deepEqual(seen(first), ['m1', 'j1']);
});
