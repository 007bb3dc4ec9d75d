import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { dial } from '../../../appliance/api/dial.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import type { Machine } from '../../../appliance/api/rest.ts';
import { ORCHESTRATOR_NAME as servername } from '../../../appliance/api/transfer.ts';
import { machineIdOf } from '../../../appliance/machine/agent-key.ts';
import { Machines } from '../../../appliance/machine/machines.ts';
import { WAITING_MAX } from '../../../appliance/machine/waiting-room.ts';
import { STATE_FILE, Store } from '../../../appliance/store/store.ts';
import { enrol, hello, newKeys, openChannel, shownCode, signature } from '../../lab/orchestrator/agent.ts';
import { atEnd, temporaryFolder } from '../../lab/orchestrator/folder.ts';
import { inventory } from '../../lab/orchestrator/inventory.ts';
import { job } from '../../lab/orchestrator/job.ts';
import { loosePeer } from '../../lab/orchestrator/loose-peer.ts';
import { ask, orchestrator, type TestOrchestrator, until } from '../../lab/orchestrator/orchestrator.ts';

const list = async (server: TestOrchestrator): Promise<Machine[]> => {
  const answer = await ask(server.socket, 'GET', '/api/v1/machines');
  return answer.json() as Machine[];
};
const approve = (server: TestOrchestrator, id: string, body: object) =>
  ask(server.socket, 'POST', `/api/v1/machines/${id}/approve`, body);

void test('enrolment: an agent that proves its key waits for approval, with the code of its screen it is approved', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const keys = newKeys();
  const { channel, proof } = await enrol(port, identity.caPem, keys);
  assert.equal(proof.approved, false);
  const [waiting] = await list(server);
  assert.equal(waiting?.id, proof.machineId);
  assert.equal(waiting.name, 'Server 1000 ABC123');
  assert.deepEqual([waiting.approved, waiting.online, waiting.address], [false, true, '127.0.0.1']);

  const code = await shownCode(keys, identity.caDer);
  const answer = await approve(server, proof.machineId, { code: code.toLowerCase().replace('-', ' '), name: 'db <1>' });
  assert.equal(answer.status, 200, answer.text);
  const [approved] = await list(server);
  assert.deepEqual([approved?.name, approved?.approved, approved?.online], ['db <1>', true, true]);

  channel.close();
  await until('the machine is offline', async () => (await list(server))[0]?.online === false);
  const again = await enrol(port, identity.caPem, keys);
  assert.deepEqual(again.proof, { machineId: proof.machineId, approved: true });
  assert.equal((await list(server))[0]?.online, true);
});

void test('enrolment: nothing of a machine that is not approved is written', async (t) => {
  const server = await orchestrator(t);
  await enrol(server.port, server.identity.caPem, newKeys());
  assert.equal((await list(server)).length, 1);
  await assert.rejects(readFile(join(server.state, STATE_FILE)), { code: 'ENOENT' });
});

void test('enrolment: an approval survives a restart', async (t) => {
  const folder = await temporaryFolder(t);
  const first = await orchestrator(t, { folder });
  const keys = newKeys();
  const { proof } = await enrol(first.port, first.identity.caPem, keys);
  await approve(first, proof.machineId, { code: await shownCode(keys, first.identity.caDer), name: 'kept' });
  await first.close();
  const second = await orchestrator(t, { folder });
  const [machine] = await list(second);
  assert.deepEqual(
    [machine?.id, machine?.name, machine?.approved, machine?.online],
    [proof.machineId, 'kept', true, false],
  );
  const again = await enrol(second.port, first.identity.caPem, keys);
  assert.equal(again.proof.approved, true);
});

void test('enrolment: a code of a man in the middle (another CA, another key) approves nothing; five lock the machine', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const keys = newKeys();
  const { proof } = await enrol(port, identity.caPem, keys);
  const wrong = [
    await shownCode(keys, Buffer.from('the CA of the man in the middle')),
    await shownCode(newKeys(), identity.caDer),
    '0000-0000',
    '../../etc',
    '<b>"\'',
  ];
  for (const code of wrong) {
    const answer = await approve(server, proof.machineId, { code });
    assert.deepEqual([answer.status, (answer.json() as { code: string }).code], [403, 'PAIRING_CODE_WRONG']);
  }
  const right = await shownCode(keys, identity.caDer);
  const locked = await approve(server, proof.machineId, { code: right });
  assert.equal((locked.json() as { code: string }).code, 'PAIRING_LOCKED');
  // Dialling in again with the same key does not unlock it.
  await enrol(port, identity.caPem, keys);
  assert.equal(
    ((await approve(server, proof.machineId, { code: right })).json() as { code: string }).code,
    'PAIRING_LOCKED',
  );
  assert.equal((await list(server))[0]?.approved, false);
  const audit = (await readFile(join(server.state, 'audit.log'), 'utf8')).trimEnd().split('\n');
  assert.equal(audit.filter((line) => JSON.parse(line).result === 'PAIRING_CODE_WRONG').length, 5);
});

void test('enrolment: many tries side by side are five tries', async (t) => {
  const server = await orchestrator(t);
  const { proof } = await enrol(server.port, server.identity.caPem, newKeys());
  const tries = Array.from({ length: 12 }, () => approve(server, proof.machineId, { code: '0000-0000' }));
  const codes = (await Promise.all(tries)).map((answer) => (answer.json() as { code: string }).code);
  assert.equal(codes.filter((code) => code === 'PAIRING_CODE_WRONG').length, 5);
  assert.equal(codes.filter((code) => code === 'PAIRING_LOCKED').length, 7);
});

void test('enrolment: a replayed signature, a second proof and a foreign key prove nothing', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const keys = newKeys();
  const first = await openChannel(port, identity.caPem);
  const proofOf = (nonce: Buffer, by = keys) => ({ signature: signature(by, nonce), inventory: inventory() });
  await assert.rejects(first.request('agent.prove', proofOf(Buffer.alloc(32))), { code: 'PROTOCOL_VIOLATION' });
  const nonce = await hello(first, keys);
  await first.request('agent.prove', proofOf(nonce));
  await assert.rejects(first.request('agent.prove', proofOf(nonce)), { code: 'PROTOCOL_VIOLATION' });

  const second = await openChannel(port, identity.caPem);
  assert.notDeepEqual(await hello(second, keys), nonce);
  await assert.rejects(second.request('agent.prove', proofOf(nonce)), { code: 'NOT_AUTHORISED' });
  // The nonce is used up by the wrong proof too.
  await assert.rejects(second.request('agent.prove', proofOf(nonce)), { code: 'PROTOCOL_VIOLATION' });

  const third = await openChannel(port, identity.caPem);
  await assert.rejects(third.request('agent.prove', proofOf(await hello(third, keys), newKeys())), {
    code: 'NOT_AUTHORISED',
  });
  await assert.rejects(hello(third, keys), { code: 'PROTOCOL_VIOLATION' });
  assert.equal((await list(server)).length, 1);
});

void test('enrolment: only Ed25519 keys in their one form are keys', async (t) => {
  const server = await orchestrator(t);
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { publicKeyDer } = newKeys();
  for (const der of [
    publicKey.export({ format: 'der', type: 'spki' }),
    Buffer.from('garbage'),
    Buffer.alloc(0),
    Buffer.concat([publicKeyDer, Buffer.from([0])]),
  ]) {
    const channel = await openChannel(server.port, server.identity.caPem);
    const said = channel.request('agent.hello', { version: 1, publicKey: der.toString('base64'), boot: 'usb' });
    await assert.rejects(said, { code: 'REQUEST_INVALID' });
    channel.close();
  }
});

void test('enrolment: an agent may not play a receiver', async (t) => {
  const server = await orchestrator(t);
  const channel = await openChannel(server.port, server.identity.caPem);
  const said = channel.request('receiver.hello', { version: 1, jobId: 'abcdef', secret: 'AAAA' });
  await assert.rejects(said, { code: 'REQUEST_INVALID' });
});

void test('enrolment: hostile names and inventories stay text, an oversized one is refused', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const keys = newKeys();
  const evil = inventory({ product: '../../<script>"\'\u001b[2J\u202e', serial: '`rm -rf`' });
  const { proof } = await enrol(port, identity.caPem, keys, evil);
  assert.equal((await list(server))[0]?.name, '../../<script>"\'[2J m -rf`');
  const code = await shownCode(keys, identity.caDer);
  for (const name of ['\u001b[31mred', 'a\nb', '\u202eabc', '   ']) {
    const answer = await approve(server, proof.machineId, { code, name });
    assert.deepEqual([answer.status, (answer.json() as { code: string }).code], [400, 'NAME_INVALID']);
  }
  const answer = await approve(server, proof.machineId, { code, name: '../../<b>"Zoë\' 本番' });
  assert.equal(answer.status, 200);
  const found = await ask(server.socket, 'GET', `/api/v1/machines/${encodeURIComponent('../../<b>"Zoë\' 本番')}`);
  assert.equal((found.json() as Machine).id, proof.machineId);

  const huge = inventory({ product: 'x'.repeat(300 * 1024) });
  await assert.rejects(enrol(port, identity.caPem, newKeys(), huge), { code: 'REQUEST_TOO_LARGE' });
});

void test('enrolment: a forgotten machine is cut off and must be approved anew', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const keys = newKeys();
  const { channel, proof } = await enrol(port, identity.caPem, keys);
  const code = await shownCode(keys, identity.caDer);
  await approve(server, proof.machineId, { code });
  const forgotten = await ask(server.socket, 'DELETE', `/api/v1/machines/${proof.machineId.slice(0, 8)}`);
  assert.equal(forgotten.status, 200, forgotten.text);
  await channel.closed;
  assert.deepEqual(await list(server), []);
  assert.equal((await enrol(port, identity.caPem, keys)).proof.approved, false);
});

void test("enrolment: a given name is one machine's only, and never an unapproved machine's", async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const [one, two] = [newKeys(), newKeys()];
  const first = (await enrol(port, identity.caPem, one)).proof.machineId;
  await approve(server, first, { code: await shownCode(one, identity.caDer), name: 'db SN0001' });
  // It calls itself as the approved one is named.
  const second = (await enrol(port, identity.caPem, two, inventory({ product: 'db', serial: 'SN0001' }))).proof
    .machineId;
  const taken = await approve(server, second, { code: await shownCode(two, identity.caDer), name: 'db SN0001' });
  assert.deepEqual([taken.status, (taken.json() as { code: string }).code], [409, 'NAME_TAKEN']);
  const found = await ask(server.socket, 'GET', '/api/v1/machines/db%20SN0001');
  assert.equal((found.json() as Machine).id, first);
});

void test('enrolment: an agent is told of its approval, and one that does not understand is approved all the same', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const [one, two] = [newKeys(), newKeys()];
  const told: string[] = [];
  const first = await enrol(port, identity.caPem, one, inventory(), (name) => told.push(name));
  const deaf = (): never => {
    throw new RehostError('REQUEST_INVALID', 'There is no such method here.');
  };
  const second = await enrol(port, identity.caPem, two, inventory(), deaf);
  await approve(server, first.proof.machineId, { code: await shownCode(one, identity.caDer), name: 'db' });
  await until('the agent is told', () => told.length > 0);
  assert.deepEqual(told, ['db']);
  const answer = await approve(server, second.proof.machineId, { code: await shownCode(two, identity.caDer) });
  assert.equal(answer.status, 200, answer.text);
  await until('the failure is logged', () => server.logged().includes('the agent was not told'));
});

void test('enrolment: a machine that was booted again takes over the name of its earlier self, which is forgotten', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const hardware = inventory({ uuid: '11111111-2222-3333-4444-555555555555' });
  const arrive = async (facts = hardware) => {
    const keys = newKeys();
    const { channel, proof } = await enrol(port, identity.caPem, keys, facts);
    const code = await shownCode(keys, identity.caDer);
    return { channel, id: proof.machineId, approve: () => approve(server, proof.machineId, { code, name: 'db' }) };
  };
  const earlier = await arrive();
  assert.equal(((await earlier.approve()).json() as { replaced?: string }).replaced, undefined);

  const later = await arrive();
  const taken = (await later.approve()).json() as { code: string; message: string; next: string };
  assert.equal(taken.code, 'NAME_TAKEN');
  assert.match(taken.message, /it is online/);
  assert.ok(taken.next.includes(`'rehost forget ${earlier.id}'`), taken.next);

  earlier.channel.close();
  await until('it is offline', async () => (await list(server)).find(({ id }) => id === earlier.id)?.online === false);
  const [disk] = hardware.disks;
  assert.ok(disk);
  const strangers = [
    inventory({ uuid: '' }),
    inventory({ uuid: '11111111-2222-3333-4444-555555555556' }),
    inventory({ uuid: hardware.uuid, disks: [{ ...disk, serial: 'D2' }] }),
    inventory({ uuid: hardware.uuid, disks: [disk, { ...disk, name: 'sdb', serial: 'D2' }] }),
  ];
  for (const facts of strangers) {
    const refused = (await (await arrive(facts)).approve()).json() as { code: string; message: string };
    assert.deepEqual([refused.code, /it is other hardware/.test(refused.message)], ['NAME_TAKEN', true]);
  }

  const answer = (await later.approve()).json() as { id: string; name: string; replaced: string };
  assert.deepEqual([answer.id, answer.name, answer.replaced], [later.id, 'db', earlier.id]);
  const approved = (await list(server)).filter((machine) => machine.approved);
  assert.deepEqual(
    approved.map(({ id, name, online }) => [id, name, online]),
    [[later.id, 'db', true]],
  );
  const audit = (await readFile(join(server.state, 'audit.log'), 'utf8')).trimEnd().split('\n');
  const entries = audit.map((line) => JSON.parse(line) as { what: string; subject: string; result: string });
  assert.deepEqual(
    entries.filter(({ result }) => result === 'ok').map(({ what, subject }) => [what, subject]),
    [
      ['machine.approve', earlier.id],
      ['machine.forget', earlier.id],
      ['machine.approve', later.id],
    ],
  );
});

void test('enrolment: a machine that was booted again while a job works with it goes on as itself, and its earlier key is void', async (t) => {
  const server = await orchestrator(t);
  const hardware = inventory({ uuid: '11111111-2222-3333-4444-555555555555' });
  const [earlier, later, other] = [newKeys(), newKeys(), newKeys()];
  const first = await enrol(server.port, server.identity.caPem, earlier, hardware);
  const { machineId } = first.proof;
  await approve(server, machineId, { code: await shownCode(earlier, server.identity.caDer), name: 'db' });
  await server.close();
  const again = await orchestrator(t, {
    folder: join(server.state, '..'),
    prepare: async (state) => {
      const store = await Store.open(state);
      await store.save(job('abcdef', { state: 'copy', machineId }));
      await store.close();
    },
  });
  const { port, identity } = again;
  const enrolled = await enrol(port, identity.caPem, later, hardware);
  assert.equal(enrolled.proof.approved, false);
  const newId = enrolled.proof.machineId;
  // Its own code is needed, as for every machine.
  const wrong = await approve(again, newId, { code: '0000-0000', name: 'db' });
  assert.equal((wrong.json() as { code: string }).code, 'PAIRING_CODE_WRONG');
  // Other hardware is another machine, whatever it is called.
  const stranger = await enrol(port, identity.caPem, other, inventory({ uuid: 'other' }));
  const strange = await approve(again, stranger.proof.machineId, { code: await shownCode(other, identity.caDer) });
  assert.deepEqual((strange.json() as { id: string }).id, stranger.proof.machineId);

  // What firmware and disks say of themselves is no proof: the person says which machine it is.
  const unnamed = await approve(again, newId, { code: await shownCode(later, identity.caDer) });
  assert.match(unnamed.text, /REQUEST_INVALID.*looks like the machine 'db'/);
  const answer = await approve(again, newId, { code: await shownCode(later, identity.caDer), name: 'db' });
  const { id, name, continues } = answer.json() as { id: string; name: string; continues: string };
  assert.deepEqual({ id, name, continues }, { id: machineId, name: 'db', continues: newId }, answer.text);
  const known = (await list(again)).find((machine) => machine.id === machineId);
  assert.deepEqual([known?.approved, known?.online], [true, true]);
  assert.equal(
    (await list(again)).some((machine) => machine.id === newId),
    false,
  );
  // The key that is not its own any more gets nowhere; the new one is known.
  await assert.rejects(enrol(port, identity.caPem, earlier, hardware), { code: 'NOT_AUTHORISED' });
  enrolled.channel.close();
  await until('it is offline', async () => (await list(again)).some((one) => one.id === machineId && !one.online));
  assert.equal((await enrol(port, identity.caPem, later, hardware)).proof.approved, true);
  await until('it is online', async () => (await list(again)).some((one) => one.id === machineId && one.online));
});

void test('enrolment: a machine that has to leave a full room is told of as a change, and its agent is cut off', async (t) => {
  const server = await orchestrator(t);
  const store = await Store.open(await temporaryFolder(t));
  atEnd(t, () => store.close());
  const machines = new Machines(store, server.identity.caDer);
  const arrive = async (text: string, address: string) => {
    const publicKeyDer = Buffer.from(text);
    const peer = loosePeer();
    const id = machineIdOf(publicKeyDer);
    await machines.arrive({ id, publicKeyDer, address, inventory: inventory(), peer });
    return { id, peer };
  };
  const first = await arrive('0', '192.0.2.0');
  for (let at = 1; at < WAITING_MAX; at++) await arrive(String(at), `192.0.2.${at % 16}`);
  const changed: string[] = [];
  machines.on('change', (id) => changed.push(id));
  const late = await arrive('late', '198.51.100.1');
  assert.deepEqual(changed, [first.id, late.id]);
  assert.equal(first.peer.open, false);
  assert.equal(machines.list().length, WAITING_MAX);
});

void test('enrolment: one address cannot take all connections', async (t) => {
  const { port, identity } = await orchestrator(t);
  const open: Socket[] = [];
  atEnd(t, async () => {
    for (const socket of open) socket.destroy();
  });
  const dialled = async (localAddress: string): Promise<Socket> => {
    const socket = connect({ host: '127.0.0.1', port, localAddress });
    open.push(socket);
    socket.on('error', () => {});
    await once(socket, 'connect');
    return socket;
  };
  for (let at = 0; at < 64; at++) await dialled('127.0.0.2');
  const refused = await dialled('127.0.0.2');
  await once(refused, 'close', { signal: AbortSignal.timeout(10_000) });
  assert.ok(open.slice(0, 64).every((socket) => !socket.destroyed));
  const { proof } = await enrol(port, identity.caPem, newKeys());
  assert.equal(proof.approved, false);
  // A connection that ends gives its place back.
  const [one] = open;
  assert.ok(one);
  one.destroy();
  await until('there is a place again', async () => {
    const socket = tlsConnect({ socket: await dialled('127.0.0.2'), ca: [identity.caPem], servername });
    const served = await Promise.race([
      once(socket, 'secureConnect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false);
    socket.destroy();
    return served;
  });
});

void test('enrolment: garbage and huge frames close the channel and harm nobody else', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const endpoint = { host: '127.0.0.1', port, path: '/control/agent', caPem: identity.caPem };
  const frames = [
    'not JSON',
    '{}',
    '[1]',
    'null',
    '{"type":"request"}',
    Buffer.from([0xff, 0xfe]),
    'x'.repeat(2 * 1024 * 1024),
  ];
  for (const frame of frames) {
    const socket = await dial(endpoint);
    socket.on('error', () => {});
    const closed = once(socket, 'close');
    socket.send(frame);
    await closed;
  }
  // Thousands of answers to nothing and of unknown methods are survived.
  const socket = await dial(endpoint);
  for (let id = 1; id <= 2000; id++) {
    socket.send(JSON.stringify({ type: 'response', id, result: {} }));
    socket.send(JSON.stringify({ type: 'request', id, method: '__proto__', deadlineMs: 1000, params: {} }));
  }
  const { proof } = await enrol(port, identity.caPem, newKeys());
  assert.equal(proof.approved, false);
  socket.terminate();
});

void test('enrolment: one address cannot take all places of channels that have proved nothing', async (t) => {
  const server = await orchestrator(t);
  const { port, identity } = server;
  const channels = [];
  for (let at = 0; at < 16; at++) channels.push(await openChannel(port, identity.caPem));
  const refused = await dial({ host: '127.0.0.1', port, path: '/control/agent', caPem: identity.caPem });
  const [code] = await once(refused, 'close');
  assert.equal(code, 1013);
  // A channel that closes, or proves its key, gives its place back.
  const [one] = channels;
  assert.ok(one);
  one.close();
  await one.closed;
  const { channel } = await enrol(port, identity.caPem, newKeys());
  const after = await openChannel(port, identity.caPem);
  await hello(after, newKeys());
  assert.ok(channel.open);
});
