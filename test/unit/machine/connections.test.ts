import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import { Connections } from '../../../appliance/machine/connections.ts';

class Channel {
  open = true;
  close(): void {
    this.open = false;
  }
}
const never = new AbortController().signal;
const make = () => new Connections<Channel>('AGENT_LOST', 'agent of the machine');

void test('connections: a newer channel replaces and closes the older; the older leaving removes nothing', () => {
  const connections = make();
  const [older, newer] = [new Channel(), new Channel()];
  connections.set('m', older);
  connections.set('m', newer);
  assert.equal(older.open, false);
  assert.equal(connections.get('m'), newer);
  assert.equal(connections.remove('m', older), false);
  assert.equal(connections.get('m'), newer);
  assert.equal(connections.remove('m', newer), true);
  assert.equal(connections.get('m'), undefined);
});

void test('connections: a channel that has closed is not handed out', () => {
  const connections = make();
  const channel = new Channel();
  connections.set('m', channel);
  channel.close();
  assert.equal(connections.get('m'), undefined);
});

void test('connections: everyone who waits gets the channel that dials in', async () => {
  const connections = make();
  const waiting = [connections.waitFor('m', 60_000, never), connections.waitFor('m', 60_000, never)];
  const channel = new Channel();
  connections.set('other', new Channel());
  connections.set('m', channel);
  assert.deepEqual(await Promise.all(waiting), [channel, channel]);
  assert.equal(await connections.waitFor('m', 1, never), channel);
});

void test('connections: a wait in vain ends with its code, an aborted one with the abort', async () => {
  const connections = make();
  await assert.rejects(connections.waitFor('m', 5, never), { code: 'AGENT_LOST', message: /'m'/ });
  const abort = new AbortController();
  const waiting = connections.waitFor('m', 60_000, abort.signal);
  abort.abort(new RehostError('JOB_CANCELLED', 'by a person'));
  await assert.rejects(waiting, { code: 'JOB_CANCELLED', message: 'by a person' });
  await assert.rejects(connections.waitFor('m', 60_000, abort.signal), { code: 'JOB_CANCELLED' });
});
