/**
 * The negotiation of one connection, up to the choice of an export. TLS is required: before it nothing but STARTTLS and
 * ABORT is answered, and nothing that was sent before it counts after it.
 */
import {
  NBD_CONTEXT_BASE_ALLOCATION,
  NBD_FLAG_FIXED_NEWSTYLE,
  NBD_FLAG_NO_ZEROES,
  NBD_INFO_BLOCK_SIZE,
  NBD_MAX_OPTION_BYTES,
  NBD_MAX_OPTIONS,
  NBD_MAX_READ_BYTES,
  NBD_OPT_ABORT,
  NBD_OPT_EXPORT_NAME,
  NBD_OPT_GO,
  NBD_OPT_INFO,
  NBD_OPT_LIST,
  NBD_OPT_LIST_META_CONTEXT,
  NBD_OPT_SET_META_CONTEXT,
  NBD_OPT_STARTTLS,
  NBD_OPT_STRUCTURED_REPLY,
  NBD_REP_ACK,
  NBD_REP_ERR_INVALID,
  NBD_REP_ERR_TLS_REQD,
  NBD_REP_ERR_TOO_BIG,
  NBD_REP_ERR_UNKNOWN,
  NBD_REP_ERR_UNSUP,
  NBD_REP_INFO,
  NBD_REP_META_CONTEXT,
  NBD_REP_SERVER,
  NBD_TFLAG_CAN_MULTI_CONN,
  NBD_TFLAG_HAS_FLAGS,
  NBD_TFLAG_READ_ONLY,
  NBD_TFLAG_SEND_DF,
  REHOST_OPT_HASHES,
  REHOST_OPT_ZSTD,
} from '../../appliance/api/nbd.ts';
import { STEP_BYTES } from '../../appliance/api/transfer.ts';
import { hasPending } from '../../native/socket.ts';
import type { ByteStream } from '../../native/stream.ts';
import type { MessageIo } from './io.ts';
import * as wire from './wire.ts';

/** Id of base:allocation on every connection; any number but 0 would do. */
export const ALLOCATION_CONTEXT_ID = 1;

/** The client broke the protocol. The connection ends; the session goes on. */
export class ClientFault extends Error {
  override readonly name = 'ClientFault';
}

/** One export as negotiation sees it. */
export interface Offer {
  name: string;
  sizeBytes: number;
}

export interface Negotiated {
  name: string;
  structured: boolean;
  allocation: boolean;
  hashes: boolean;
  compression: boolean;
}

interface State {
  structured: boolean;
  hashes: boolean;
  compression: boolean;
  /** The export that base:allocation was set for. */
  allocationFor: string | undefined;
}

function transmissionFlags(state: State): number {
  const flags = NBD_TFLAG_HAS_FLAGS | NBD_TFLAG_READ_ONLY | NBD_TFLAG_CAN_MULTI_CONN;
  return state.structured ? flags | NBD_TFLAG_SEND_DF : flags;
}

/**
 * Negotiates on a fresh connection. `secure` does the TLS handshake on it and returns the encrypted stream; it throws when the
 * peer does not have the key. Returns the choice, or undefined when the client said goodbye. ClientFault when it broke the protocol.
 */
export function negotiate(io: MessageIo, offers: readonly Offer[], secure: () => ByteStream): Negotiated | undefined {
  io.send(wire.greeting());
  const flags = io.view(wire.CLIENT_FLAGS_BYTES).getUint32(0);
  if ((flags & ~(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) !== 0 || (flags & NBD_FLAG_FIXED_NEWSTYLE) === 0) {
    throw new ClientFault(`Client flags ${flags} are not fixed newstyle.`);
  }
  let encrypted = false;
  let state: State = { structured: false, hashes: false, compression: false, allocationFor: undefined };
  for (let count = 0; count < NBD_MAX_OPTIONS; count++) {
    const header = wire.readOptionHeader(io.view(wire.OPTION_HEADER_BYTES));
    if (!header) throw new ClientFault('An option has the wrong magic.');
    const { option, length } = header;
    if (length > NBD_MAX_OPTION_BYTES) {
      io.send(wire.optionReply(option, NBD_REP_ERR_TOO_BIG));
      throw new ClientFault(`Option ${option} has ${length} bytes; the limit is ${NBD_MAX_OPTION_BYTES}.`);
    }
    const data = io.take(length);
    if (option === NBD_OPT_ABORT) {
      io.send(wire.optionReply(option, NBD_REP_ACK));
      return undefined;
    }
    if (encrypted) {
      const chosen = answer(io, offers, state, option, data, (flags & NBD_FLAG_NO_ZEROES) !== 0);
      if (chosen) return chosen;
    } else if (option === NBD_OPT_EXPORT_NAME) {
      // This option has no error reply.
      throw new ClientFault('EXPORT_NAME before STARTTLS.');
    } else if (option !== NBD_OPT_STARTTLS) {
      io.send(wire.optionReply(option, NBD_REP_ERR_TLS_REQD));
    } else if (length !== 0) {
      io.send(wire.optionReply(option, NBD_REP_ERR_INVALID));
    } else {
      // A client waits for the answer before it begins TLS; bytes that are here already were injected.
      if (hasPending(io.stream.fd, io.scratch)) throw new ClientFault('Data behind STARTTLS.');
      io.send(wire.optionReply(option, NBD_REP_ACK));
      io.upgrade(secure());
      encrypted = true;
      state = { structured: false, hashes: false, compression: false, allocationFor: undefined };
    }
  }
  throw new ClientFault(`More than ${NBD_MAX_OPTIONS} options.`);
}

/** Answers one option inside TLS; returns the choice when the option was one. */
function answer(
  io: MessageIo,
  offers: readonly Offer[],
  state: State,
  option: number,
  data: Buffer,
  noZeroes: boolean,
): Negotiated | undefined {
  const reply = (type: number, payload?: Uint8Array): undefined => {
    io.send(wire.optionReply(option, type, payload));
  };
  const choice = (name: string): Negotiated => ({
    name,
    structured: state.structured,
    allocation: state.allocationFor === name,
    hashes: state.hashes,
    compression: state.compression,
  });
  switch (option) {
    case NBD_OPT_LIST:
      if (data.length !== 0) return reply(NBD_REP_ERR_INVALID);
      for (const offer of offers) reply(NBD_REP_SERVER, wire.serverEntry(offer.name));
      return reply(NBD_REP_ACK);
    case NBD_OPT_STRUCTURED_REPLY:
      if (data.length !== 0) return reply(NBD_REP_ERR_INVALID);
      state.structured = true;
      return reply(NBD_REP_ACK);
    case REHOST_OPT_HASHES:
      if (data.length !== 0 || !state.structured) return reply(NBD_REP_ERR_INVALID);
      state.hashes = true;
      return reply(NBD_REP_ACK);
    case REHOST_OPT_ZSTD:
      if (data.length !== 0 || !state.hashes) return reply(NBD_REP_ERR_INVALID);
      state.compression = true;
      return reply(NBD_REP_ACK);
    case NBD_OPT_LIST_META_CONTEXT:
    case NBD_OPT_SET_META_CONTEXT:
      return answerMeta(offers, state, option, data, reply);
    case NBD_OPT_EXPORT_NAME: {
      const offer = offers.find((one) => one.name === wire.decode(data));
      if (!offer) throw new ClientFault('EXPORT_NAME of an unknown export.');
      io.send(wire.exportNameReply(offer.sizeBytes, transmissionFlags(state), noZeroes));
      return choice(offer.name);
    }
    case NBD_OPT_INFO:
    case NBD_OPT_GO: {
      const wanted = wire.parseInfo(data);
      if (!wanted) return reply(NBD_REP_ERR_INVALID);
      const offer = offers.find((one) => one.name === wanted.name);
      if (!offer) return reply(NBD_REP_ERR_UNKNOWN);
      reply(NBD_REP_INFO, wire.infoExport(offer.sizeBytes, transmissionFlags(state)));
      if (wanted.infos.includes(NBD_INFO_BLOCK_SIZE)) {
        // Any request is served, by a larger aligned read where needed.
        reply(NBD_REP_INFO, wire.infoBlockSize(1, STEP_BYTES, NBD_MAX_READ_BYTES));
      }
      reply(NBD_REP_ACK);
      return option === NBD_OPT_GO ? choice(offer.name) : undefined;
    }
    case NBD_OPT_STARTTLS:
      return reply(NBD_REP_ERR_INVALID);
    default:
      return reply(NBD_REP_ERR_UNSUP);
  }
}

function answerMeta(
  offers: readonly Offer[],
  state: State,
  option: number,
  data: Buffer,
  reply: (type: number, payload?: Uint8Array) => undefined,
): undefined {
  const set = option === NBD_OPT_SET_META_CONTEXT;
  // A new selection replaces the old one, also when it fails.
  if (set) state.allocationFor = undefined;
  const wanted = wire.parseMetaQuery(data);
  if (!wanted || !state.structured) return reply(NBD_REP_ERR_INVALID);
  if (!offers.some((offer) => offer.name === wanted.name)) return reply(NBD_REP_ERR_UNKNOWN);
  const listed = !set && (wanted.queries.length === 0 || wanted.queries.includes('base:'));
  if (listed || wanted.queries.includes(NBD_CONTEXT_BASE_ALLOCATION)) {
    if (set) state.allocationFor = wanted.name;
    reply(NBD_REP_META_CONTEXT, wire.metaContext(set ? ALLOCATION_CONTEXT_ID : 0, NBD_CONTEXT_BASE_ALLOCATION));
  }
  return reply(NBD_REP_ACK);
}
