import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WAITING_MAX, WAITING_PER_ADDRESS, WaitingRoom } from '../../../appliance/machine/waiting-room.ts';
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

/** A room and how machines enter it; the machines' channels by their ids. */
function scene() {
  const room = new WaitingRoom();
  const peers = new Map<string, ReturnType<typeof loosePeer>>();
  const at = new Date().toISOString();
  const enter = (id: string, address: string): string | undefined => {
    const peer = loosePeer();
    peers.set(id, peer);
    return room.enter({ id, publicKeyDer: Buffer.from(id), address, inventory: inventory(), peer }, at);
  };
  const goOffline = (id: string): void => {
    const peer = peers.get(id);
    assert.ok(peer);
    peer.close();
    room.leave(id, peer, at);
  };
  const ids = () => room.list().map(({ id }) => id);
  return { room, peers, enter, goOffline, ids };
}

void test('waiting room: one address takes its share and no more; its offline machines make room', () => {
  const { enter, goOffline, ids } = scene();
  enter('real', '192.0.2.1');
  for (let at = 0; at < WAITING_PER_ADDRESS; at++) enter(`flood-${at}`, '192.0.2.66');
  assert.throws(() => enter('one-more', '192.0.2.66'), { code: 'MACHINES_TOO_MANY', message: /192\.0\.2\.66/ });
  assert.equal(enter('real-2', '192.0.2.1'), undefined);
  // A machine that is known there comes back; one from elsewhere does not move there.
  assert.equal(enter('flood-3', '192.0.2.66'), undefined);
  assert.throws(() => enter('real', '192.0.2.66'), { code: 'MACHINES_TOO_MANY' });
  goOffline('flood-5');
  assert.equal(enter('one-more', '192.0.2.66'), 'flood-5');
  assert.equal(ids().length, WAITING_PER_ADDRESS + 2);
  assert.ok(ids().includes('real') && ids().includes('real-2') && !ids().includes('flood-5'));
});

void test('waiting room: when all places are taken, the oldest of the address that holds most goes', () => {
  const { room, peers, enter, goOffline, ids } = scene();
  enter('real', '192.0.2.1');
  for (let at = 1; at < WAITING_MAX; at++) enter(`flood-${at}`, `198.51.100.${at % 20}`);
  assert.equal(ids().length, WAITING_MAX);
  // 255 machines at 20 addresses: the addresses 1 to 15 hold thirteen each, the others twelve.
  assert.equal(enter('late', '192.0.2.2'), 'flood-1');
  assert.equal(peers.get('flood-1')?.open, false);
  assert.equal(room.get('flood-1'), undefined);
  goOffline('flood-42');
  assert.equal(enter('later', '192.0.2.3'), 'flood-42', 'one that is offline goes before the oldest');
  assert.equal(ids().length, WAITING_MAX);
  assert.ok(['real', 'late', 'later'].every((id) => ids().includes(id)));
});
