import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WaitingRoom } from '../../../appliance/machine/waiting-room.ts';
import { inventory } from '../../lab/orchestrator/inventory.ts';
import { loosePeer } from '../../lab/orchestrator/loose-peer.ts';

void test('waiting room: a machine that left is shown for ten minutes, one that is online for ever', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 0 });
  const room = new WaitingRoom();
  const now = () => new Date().toISOString();
  const arrive = (id: string) => {
    const peer = loosePeer();
    room.enter({ id, publicKeyDer: Buffer.from(id), address: '192.0.2.1', inventory: inventory(), peer }, now());
    return peer;
  };
  const ids = () => room.list().map(({ id, online }) => `${id} ${online}`);
  arrive('stays');
  const leaving = arrive('leaves');
  t.mock.timers.setTime(3_600_000);
  leaving.close();
  assert.equal(room.leave('leaves', leaving, now()), true);
  t.mock.timers.setTime(3_600_000 + 600_000);
  assert.deepEqual(ids(), ['stays true', 'leaves false']);
  t.mock.timers.setTime(3_600_000 + 600_001);
  assert.deepEqual(ids(), ['stays true']);
});

void test('waiting room: an old channel that closes does not take a newer one offline', () => {
  const room = new WaitingRoom();
  const at = new Date().toISOString();
  const facts = { id: 'm', publicKeyDer: Buffer.from('m'), address: '192.0.2.1', inventory: inventory() };
  const [older, newer] = [loosePeer(), loosePeer()];
  room.enter({ ...facts, peer: older }, at);
  room.enter({ ...facts, peer: newer }, at);
  assert.equal(older.open, false);
  assert.equal(room.leave('m', older, at), false);
  assert.equal(room.list()[0]?.online, true);
});
