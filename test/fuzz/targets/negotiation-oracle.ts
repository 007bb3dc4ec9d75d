/**
 * Judges a negotiation from outside: the bytes that the server took against those that it gave, by the protocol document and
 * not by the server's code.
 */
import {
  NBD_MAX_OPTION_BYTES,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPTION_REPLY_MAGIC,
  NBD_REP_ACK,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_FLAG_ERROR,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
} from '../../../appliance/api/nbd.ts';
import { must } from '../engine/violation.ts';
import { Cursor } from './bytes.ts';
import type { ExportTruth } from './exports.ts';

const GREETING = 18;
const REPLIES_MAX = 64;

/** One direction's bytes, before and inside TLS. */
export interface Sides {
  plain: Buffer;
  encrypted: Buffer;
}

/** What each option may be answered with before its last reply. */
const BETWEEN: ReadonlyMap<number, number> = new Map([
  [NBD_OPT_LIST, NBD_REP_SERVER],
  [NBD_OPT_INFO, NBD_REP_INFO],
  [NBD_OPT_GO, NBD_REP_INFO],
  [NBD_OPT_LIST_META_CONTEXT, NBD_REP_META_CONTEXT],
  [NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT],
]);

interface Option {
  number: number;
  length: number;
  /** Undefined when the client did not send all of it, or too much. */
  data: Buffer | undefined;
}

function nextOption(from: Cursor): Option | undefined {
  const head = from.take(16);
  if (head?.toString('latin1', 0, 8) !== 'IHAVEOPT') return undefined;
  const length = head.readUInt32BE(12);
  const data = length > NBD_MAX_OPTION_BYTES ? undefined : from.take(length);
  return { number: head.readUInt32BE(8), length, data };
}

interface Reply {
  type: number;
  data: Buffer;
}

/** The replies to one option; none when the server gave none. */
function repliesTo(option: Option, from: Cursor): Reply[] {
  const replies: Reply[] = [];
  while (from.left > 0) {
    must(replies.length < REPLIES_MAX, `more than ${REPLIES_MAX} replies to one option`);
    const head = from.take(20);
    must(head !== undefined, 'a reply that is cut off');
    must(head.readBigUInt64BE(0) === NBD_OPTION_REPLY_MAGIC, 'an option reply with another magic');
    must(head.readUInt32BE(8) === option.number, `a reply to option ${head.readUInt32BE(8)}, not ${option.number}`);
    const data = from.take(head.readUInt32BE(16));
    must(data !== undefined, 'a reply whose payload is cut off');
    const type = head.readUInt32BE(12);
    replies.push({ type, data });
    if (type === NBD_REP_ACK || type >= NBD_REP_FLAG_ERROR) break;
    must(BETWEEN.get(option.number) === type, `reply type ${type} to option ${option.number}`);
  }
  return replies;
}

/** Nothing but errors, and the two options that are served without TLS; no byte of an export. */
function judgePlain(taken: Cursor, given: Cursor, secured: boolean): void {
  taken.take(4);
  for (let option = nextOption(taken); option; option = nextOption(taken)) {
    const replies = repliesTo(option, given);
    for (const { type, data } of replies) {
      must(data.length === 0, 'a reply with a payload before TLS');
      const ack = option.number === NBD_OPT_ABORT || (option.number === NBD_OPT_STARTTLS && option.length === 0);
      must(type !== NBD_REP_ACK || ack, `option ${option.number} was acknowledged before TLS`);
      const other = option.number !== NBD_OPT_ABORT && option.number !== NBD_OPT_STARTTLS;
      must(
        !other || !option.data || type === NBD_REP_ERR_TLS_REQD,
        `option ${option.number} was answered with ${type}`,
      );
    }
    must(
      option.number !== NBD_OPT_EXPORT_NAME || !option.data || replies.length === 0,
      'EXPORT_NAME was answered before TLS',
    );
    const upgraded = option.number === NBD_OPT_STARTTLS && replies.at(-1)?.type === NBD_REP_ACK;
    must(!upgraded || secured, 'STARTTLS was acknowledged and no TLS begun');
    if (upgraded) break;
  }
  must(given.left === 0, `${given.left} bytes in plain text that answer nothing`);
}

function nameIn(option: Option): string | undefined {
  const { data } = option;
  if (!data || data.length < 4 || data.readUInt32BE(0) > data.length - 4) return undefined;
  return data.toString('utf8', 4, 4 + data.readUInt32BE(0));
}

function judgeChoice(option: Option, replies: readonly Reply[], exports: readonly ExportTruth[]): string {
  const truth = exports.find(({ name }) => name === nameIn(option));
  must(truth !== undefined, 'an export was accepted that there is not');
  const sizes = replies.filter(({ type, data }) => type === NBD_REP_INFO && data.readUInt16BE(0) === 0);
  must(sizes.length === 1 && sizes[0]?.data.length === 12, 'an export was accepted without its size');
  must(sizes[0].data.readBigUInt64BE(2) === BigInt(truth.sizeBytes), 'the size of another export');
  must((sizes[0].data.readUInt16BE(10) & 3) === 3, 'the export is not read-only');
  return truth.name;
}

/** Returns the chosen export by what the client was told, or undefined. `rest` of `given` is the transmission's. */
function judgeEncrypted(
  taken: Cursor,
  given: Cursor,
  exports: readonly ExportTruth[],
  noZeroes: boolean,
): string | undefined {
  for (let option = nextOption(taken); option; option = nextOption(taken)) {
    if (option.number === NBD_OPT_EXPORT_NAME && option.data) {
      if (given.left === 0) return undefined;
      const truth = exports.find(({ name }) => name === option.data?.toString('utf8'));
      must(truth !== undefined, 'EXPORT_NAME of no export was answered');
      const answer = given.take(noZeroes ? 10 : 134);
      must(answer?.readBigUInt64BE(0) === BigInt(truth.sizeBytes), 'EXPORT_NAME with another size');
      return truth.name;
    }
    const replies = repliesTo(option, given);
    if (!option.data) break;
    const last = replies.at(-1);
    must(
      last !== undefined && (last.type === NBD_REP_ACK || last.type >= NBD_REP_FLAG_ERROR),
      'an option without an end',
    );
    if (last.type !== NBD_REP_ACK) continue;
    if (option.number === NBD_OPT_ABORT) break;
    if (option.number === NBD_OPT_LIST) {
      const names = replies.filter(({ type }) => type === NBD_REP_SERVER).map(({ data }) => data.toString('utf8', 4));
      must(names.join() === exports.map(({ name }) => name).join(), `LIST gave '${names.join()}'`);
    }
    if (option.number === NBD_OPT_INFO || option.number === NBD_OPT_GO) {
      const name = judgeChoice(option, replies, exports);
      if (option.number === NBD_OPT_GO) return name;
    }
  }
  return undefined;
}

/** Violation when the server answered anything that it should not; returns the export that it accepted, and what is left. */
export function judgeNegotiation(
  taken: Sides,
  given: Sides,
  secured: boolean,
  exports: readonly ExportTruth[],
): { chosen: string | undefined; taken: Cursor; given: Cursor } {
  must(given.plain.toString('latin1', 0, 16) === 'NBDMAGICIHAVEOPT' && given.plain.length >= GREETING, 'no greeting');
  const plain = new Cursor(given.plain.subarray(GREETING));
  judgePlain(new Cursor(taken.plain), plain, secured);
  must(secured || given.encrypted.length === 0, 'bytes inside of a TLS that was not begun');
  const inner = { taken: new Cursor(taken.encrypted), given: new Cursor(given.encrypted) };
  const noZeroes = taken.plain.length >= 4 && (taken.plain.readUInt32BE(0) & 2) !== 0;
  const chosen = judgeEncrypted(inner.taken, inner.given, exports, noZeroes);
  must(chosen !== undefined || inner.given.left === 0, `${inner.given.left} bytes that answer nothing`);
  return { chosen, ...inner };
}
