/** The NBD server: a whole connection from its greeting on, and the transmission phase alone. */
import { MessageIo } from '../../../agent/export/io.ts';
import { ClientFault, type Negotiated, negotiate } from '../../../agent/export/negotiate.ts';
import { Transmission } from '../../../agent/export/transmit.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_CONTEXT_BASE_ALLOCATION,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_SET_META_CONTEXT,
  REHOST_CMD_HASH,
} from '../../../appliance/api/nbd.ts';
import { StreamError } from '../../../native/stream.ts';
import { Script, ScriptStream } from '../engine/script-stream.ts';
import type { FuzzTarget } from '../engine/target.ts';
import { must } from '../engine/violation.ts';
import { Cursor } from './bytes.ts';
import {
  anyOption,
  anyRequest,
  BYE,
  COMPRESSION,
  FLAGS,
  go,
  HASHES,
  meta,
  option,
  request,
  STARTTLS,
  STRUCTURED,
} from './client-messages.ts';
import { type ExportTruth, truths } from './exports.ts';
import { judgeNegotiation, type Sides } from './negotiation-oracle.ts';
import { outcome } from './outcome.ts';
import { judgeTransmission } from './transmission-oracle.ts';

const [first, second] = truths;

/** What a connection took and gave, before and inside TLS. */
class Recorder {
  readonly taken: Buffer[] = [];
  readonly given: Buffer[] = [];

  script(records: readonly Buffer[]): Script {
    let next = 0;
    return new Script(
      () => {
        const packet = records[next++];
        if (packet) this.taken.push(packet);
        return packet;
      },
      (bytes) => this.given.push(bytes),
    );
  }
}

/** Runs what may end with ClientFault or StreamError only; says how it ended. */
function ended(run: () => string): string {
  try {
    return run();
  } catch (error) {
    if (error instanceof ClientFault || error instanceof StreamError) return outcome(error);
    throw error;
  }
}

function serve(io: MessageIo, truth: ExportTruth, negotiated: Negotiated): string {
  return ended(() => {
    const transmission = new Transmission(io, truth.reader, negotiated, () => {});
    try {
      transmission.run();
      return 'goodbye';
    } finally {
      transmission.free();
    }
  });
}

function runConnection(records: readonly Buffer[]): string {
  const recorder = new Recorder();
  const script = recorder.script(records);
  const io = new MessageIo(new ScriptStream(script));
  let split = { taken: 0, given: 0 };
  let secured = 0;
  let chosen: Negotiated | undefined;
  try {
    const said = ended(() => {
      chosen = negotiate(io, truths, () => {
        secured++;
        split = { taken: script.read, given: recorder.given.length };
        return new ScriptStream(script);
      });
      return chosen === undefined ? 'abort' : 'chosen';
    });
    const truth = truths.find(({ name }) => name === chosen?.name);
    must(truth === undefined || secured === 1, 'an export was chosen without TLS, or TLS was begun twice');
    const served = chosen && truth ? serve(io, truth, chosen) : '';
    const taken = Buffer.concat(recorder.taken).subarray(0, script.read);
    const sides: Sides = { plain: taken.subarray(0, split.taken), encrypted: taken.subarray(split.taken) };
    const given: Sides = {
      plain: Buffer.concat(recorder.given.slice(0, split.given)),
      encrypted: Buffer.concat(recorder.given.slice(split.given)),
    };
    if (secured === 0) {
      sides.plain = taken;
      sides.encrypted = Buffer.alloc(0);
      given.plain = given.encrypted;
      given.encrypted = Buffer.alloc(0);
    }
    const judged = judgeNegotiation(sides, given, secured > 0, truths);
    must(judged.chosen === chosen?.name, `the client was told '${judged.chosen}', the server serves '${chosen?.name}'`);
    if (chosen && truth) judgeTransmission(judged.taken, judged.given, truth, chosen);
    return `${said} ${served}`;
  } finally {
    io.close();
  }
}

/** First record: one byte, what was negotiated. */
function runTransmission(records: readonly Buffer[]): string {
  const bits = records[0]?.[0] ?? 0;
  const truth = (bits & 8) === 0 ? first : second;
  if (!truth) throw new Error('There are no exports.');
  const structured = (bits & 1) !== 0;
  const negotiated: Negotiated = {
    name: truth.name,
    structured,
    allocation: structured && (bits & 2) !== 0,
    hashes: structured && (bits & 4) !== 0,
    compression: structured && (bits & 20) === 20,
  };
  const recorder = new Recorder();
  const script = recorder.script(records.slice(1));
  const io = new MessageIo(new ScriptStream(script));
  try {
    const served = serve(io, truth, negotiated);
    const taken = new Cursor(Buffer.concat(recorder.taken).subarray(0, script.read));
    judgeTransmission(taken, new Cursor(Buffer.concat(recorder.given)), truth, negotiated);
    return served;
  } finally {
    io.close();
  }
}

const CHOICE = option(NBD_OPT_GO, go('sda', 3));
const ALLOCATION = option(NBD_OPT_SET_META_CONTEXT, meta('sda', NBD_CONTEXT_BASE_ALLOCATION));
/** The server tries whether compression pays only now and then. */
const LONG = Array.from({ length: 40 }, (_, i) => request(NBD_CMD_READ, 100 + i, 8192, 24_000));
const READS = [
  request(NBD_CMD_READ, 1, 0, 65536),
  request(NBD_CMD_BLOCK_STATUS, 2, 0, 65536),
  request(REHOST_CMD_HASH, 6, 4096, 9000),
];

export const negotiation: FuzzTarget = {
  name: 'server-connection',
  first: (random) => (random.once(4) ? random.bytes(4) : FLAGS),
  message: (random) => (random.once(5) ? anyRequest(random, random.pick([65536, 327680])) : anyOption(random)),
  seeds: () => [
    [FLAGS, STARTTLS, STRUCTURED, HASHES, COMPRESSION, ALLOCATION, CHOICE, ...READS, BYE],
    [
      FLAGS,
      STARTTLS,
      option(NBD_OPT_LIST),
      option(NBD_OPT_INFO, go('vdb', 0, 3)),
      option(NBD_OPT_EXPORT_NAME, Buffer.from('vdb')),
      BYE,
    ],
    [FLAGS, Buffer.concat([STARTTLS, CHOICE])],
  ],
  run: runConnection,
};

export const transmission: FuzzTarget = {
  name: 'server-transmission',
  first: (random) => Buffer.from([random.below(32)]),
  message: (random) => anyRequest(random, random.pick([65536, 327680])),
  seeds: () =>
    [0, 1, 3, 7, 8, 11, 15, 23, 31].map((bits) => [
      Buffer.from([bits]),
      ...READS,
      request(NBD_CMD_READ, 3, 5000, 9001),
      request(NBD_CMD_READ, 4, 0, 4096, 4),
      request(NBD_CMD_WRITE, 5, 0, 4),
      Buffer.alloc(4),
      ...(bits === 23 ? LONG : []),
      BYE,
    ]),
  run: runTransmission,
};
