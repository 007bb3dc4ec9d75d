/** The NBD client's negotiation, and the map of the export, against a server that sends what the input says. */
import {
  NBD_OPT_GO,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_UNSUP,
  REHOST_OPT_HASHES,
  REHOST_OPT_ZSTD,
} from '../../../appliance/api/nbd.ts';
import { Memory } from '../../../native/memory.ts';
import { agree } from '../../../receiver/copy/client.ts';
import { readMap } from '../../../receiver/copy/map.ts';
import { Requests } from '../../../receiver/copy/requests.ts';
import { Script, ScriptStream } from '../engine/script-stream.ts';
import type { FuzzTarget } from '../engine/target.ts';
import { must } from '../engine/violation.ts';
import { endsConnection, packets } from './connection.ts';
import { outcome } from './outcome.ts';
import { type Answered, readReplies, readRequests } from './reply-oracle.ts';
import { anyOptionReply, blockSizes, CONTEXT, exportInfo, optionReply, statusChunk } from './server-messages.ts';

const scratch = new Memory(8192);

/** Sorted, aligned, on the disk; and nothing is missing that the server did not call zero. */
function judgeMap(ranges: Float64Array, sizeBytes: number, answers: readonly Answered[]): void {
  let last = -1;
  for (let i = 0; i < ranges.length; i += 2) {
    const start = ranges[i] ?? -1;
    const end = ranges[i + 1] ?? -1;
    must(start > last && end > start && end <= sizeBytes && start % 4096 === 0, `a map with ${start} to ${end}`);
    last = end;
  }
  const isUsed = (from: number, to: number): boolean => {
    for (let i = 0; i < ranges.length; i += 2) {
      if ((ranges[i] ?? 0) <= from && (ranges[i + 1] ?? 0) >= to) return true;
    }
    return false;
  };
  let at = 0;
  for (const { failed, descriptors } of answers) {
    if (failed) break;
    for (const { length, flags } of descriptors) {
      const end = Math.min(sizeBytes, at + length);
      must((flags & 2) !== 0 || end <= at || isUsed(at, end), `${at} to ${end} is in use and not in the map`);
      at = Math.max(at, end);
    }
  }
  must(at >= sizeBytes || isUsed(at, sizeBytes), `nothing is known from ${at} on, and it is not in the map`);
}

function runNegotiation(records: readonly Buffer[]): string {
  const taken: Buffer[] = [];
  const sent: Buffer[] = [];
  const script = new Script(packets(records, taken), (bytes) => sent.push(bytes));
  const stream = new ScriptStream(script);
  let requests: Requests | undefined;
  try {
    const agreement = agree(stream, scratch, 'sda');
    must(Number.isSafeInteger(agreement.sizeBytes) && agreement.sizeBytes >= 0, `a size of ${agreement.sizeBytes}`);
    must(!agreement.hashes || agreement.structured, 'hashes without structured replies');
    const before = { taken: script.read, sent: sent.length };
    requests = new Requests(stream, agreement);
    const ranges = readMap(requests, agreement, () => {});
    const replies = Buffer.concat(taken).subarray(before.taken, script.read);
    const asked = readRequests(Buffer.concat(sent.slice(before.sent)));
    judgeMap(ranges, agreement.sizeBytes, readReplies(replies, asked, agreement));
    return `map of ${Math.min(9, ranges.length / 2)}`;
  } catch (error) {
    if (!endsConnection(error)) throw error;
    return outcome(error);
  } finally {
    requests?.free();
  }
}

const AGREED = [
  optionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK),
  optionReply(REHOST_OPT_HASHES, NBD_REP_ACK),
  optionReply(REHOST_OPT_ZSTD, NBD_REP_ACK),
  CONTEXT,
  optionReply(NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK),
  exportInfo(65536),
  blockSizes(1, 2 ** 25),
  optionReply(NBD_OPT_GO, NBD_REP_ACK),
];

export const clientNegotiation: FuzzTarget = {
  name: 'client-negotiation',
  first: anyOptionReply,
  message: (random) =>
    random.once(3)
      ? statusChunk(1 + random.below(4), [
          [4096 * (1 + random.below(8)), random.below(4)],
          [random.interesting(), random.below(4)],
        ])
      : anyOptionReply(random),
  seeds: () => [
    [
      ...AGREED,
      statusChunk(1, [
        [8192, 0],
        [8192, 3],
      ]),
      statusChunk(2, [
        [4096, 1],
        [2 ** 31, 2],
      ]),
    ],
    [optionReply(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP), exportInfo(65536), optionReply(NBD_OPT_GO, NBD_REP_ACK)],
  ],
  run: runNegotiation,
};
