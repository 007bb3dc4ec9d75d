/** The receiver's first steps with whoever connects. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Memory } from '../../../native/memory.ts';
import { closeSocket, PlainStream, receiveSome } from '../../../native/socket.ts';
import { Patience } from '../../../native/stream.ts';
import { TlsContext } from '../../../native/tls.ts';
import { Opening } from '../../../receiver/copy/opening.ts';
import { socketPair } from '../native/sockets.ts';

const GREETING = '4e42444d41474943 49484156454f5054 0003';
const STARTTLS_ACK = '0003e889045565a9 00000005 00000001 00000000';
const patience = new Patience(2_000, () => {});

/** Leads an opening along the messages, one step each, and returns what it answered, hex. */
function open(messages: string[]): { answer: string; done: boolean } {
  const [ours, theirs] = socketPair();
  const server = new PlainStream(theirs, patience);
  const scratch = new Memory(4096);
  const context = new TlsContext('client', { identity: 'rehost-job1', key: Buffer.alloc(32, 1) });
  const opening = new Opening(ours, context, Number.POSITIVE_INFINITY);
  try {
    let answer = '';
    for (const message of messages) {
      const bytes = Buffer.from(message.replaceAll(' ', ''), 'hex');
      scratch.bytes.set(bytes);
      server.write(scratch.address, bytes.length);
      opening.advance(scratch);
      const got = receiveSome(theirs, scratch.address, 4096);
      answer += Buffer.from(scratch.bytes.slice(0, got)).toString('hex');
    }
    return { answer, done: opening.done };
  } finally {
    opening.free();
    context.free();
    server.close();
    closeSocket(ours);
    scratch.free();
  }
}

const FLAGS_AND_STARTTLS = '00000003 49484156454f5054 00000005 00000000'.replaceAll(' ', '');

describe('opening a connection', () => {
  it('answers a greeting with STARTTLS, also when it comes in parts, and then begins TLS', () => {
    const { answer, done } = open([GREETING.slice(0, 10), GREETING.slice(10), STARTTLS_ACK]);
    assert.ok(answer.startsWith(FLAGS_AND_STARTTLS));
    // A TLS record with a handshake message: ClientHello.
    assert.match(answer.slice(FLAGS_AND_STARTTLS.length), /^160301....01/);
    assert.equal(done, false);
  });

  const wrong: [string, string[], RegExp][] = [
    ['that is no NBD server', ['5353482d322e302d4f70656e5353485f392e32'], /no NBD server/],
    ['of the old style', ['4e42444d41474943 0000420281861253 0003'], /no NBD server/],
    ['without fixed newstyle', ['4e42444d41474943 49484156454f5054 0002'], /no NBD server/],
    ['that does not encrypt', [GREETING, '0003e889045565a9 00000005 80000001 00000000'], /does not encrypt/],
    ['whose answer has a payload', [GREETING, '0003e889045565a9 00000005 00000001 00000004'], /does not encrypt/],
    ['that answers something else', [GREETING, '0003e889045565a9 00000007 00000001 00000000'], /does not encrypt/],
    [
      'that injects data before TLS',
      [GREETING, `${STARTTLS_ACK} 0003e889045565a9`],
      /data behind the answer to STARTTLS/,
    ],
  ];
  for (const [name, messages, message] of wrong) {
    it(`ends with a peer ${name}`, () => {
      assert.throws(() => open(messages), { code: 'PROTOCOL_VIOLATION', message });
    });
  }

  it('ends with a peer that hangs up', () => {
    const [ours, theirs] = socketPair();
    const scratch = new Memory(4096);
    closeSocket(theirs);
    const opening = new Opening(ours, undefined, 0);
    assert.throws(() => opening.advance(scratch), { name: 'StreamError', fault: 'closed' });
    closeSocket(ours);
  });
});
