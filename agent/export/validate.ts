/** One function that judges a whole request before any I/O. */
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_REQ_ONE,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EOVERFLOW,
  NBD_EPERM,
  NBD_MAX_READ_BYTES,
  REHOST_CMD_HASH,
} from '../../appliance/api/nbd.ts';
import { BLOCK_BYTES } from '../../appliance/api/transfer.ts';
import type { RequestHeader } from './wire.ts';

/** A reply that may not be fragmented is built in memory as a whole: the longest, bytes. */
const WHOLE_MAX_BYTES = 1024 * 1024;

/** What was negotiated, as far as requests depend on it. */
export interface Rules {
  sizeBytes: number;
  structured: boolean;
  allocation: boolean;
  hashes: boolean;
}

export type Verdict =
  | { kind: 'read'; offset: number; length: number }
  | { kind: 'status'; offset: number; length: number; one: boolean }
  | { kind: 'hash'; offset: number; length: number }
  | { kind: 'disconnect' }
  /** Answered with the error; `payload` bytes follow the request and are to be skipped first. */
  | { kind: 'refused'; errno: number; message: string; payload: number }
  /** The connection cannot be gone on with. */
  | { kind: 'broken'; message: string };

function refused(errno: number, message: string, payload = 0): Verdict {
  return { kind: 'refused', errno, message, payload };
}

/** Judges one request. Each refusal names field, value and limit. */
export function validateRequest(request: RequestHeader, rules: Rules): Verdict {
  switch (request.type) {
    case NBD_CMD_DISC:
      return { kind: 'disconnect' };
    case NBD_CMD_WRITE:
      // The payload must be read to find the next request; one beyond every limit is not worth that.
      if (request.length > NBD_MAX_READ_BYTES) {
        return { kind: 'broken', message: `WRITE of ${request.length} bytes; the limit is ${NBD_MAX_READ_BYTES}.` };
      }
      return refused(NBD_EPERM, 'The export is read-only.', request.length);
    case NBD_CMD_TRIM:
    case NBD_CMD_WRITE_ZEROES:
      return refused(NBD_EPERM, 'The export is read-only.');
    case NBD_CMD_READ:
      return validateRead(request, rules);
    case NBD_CMD_BLOCK_STATUS:
      return validateStatus(request, rules);
    case REHOST_CMD_HASH:
      return validateHash(request, rules);
    default:
      return refused(NBD_EINVAL, `Command ${request.type} was not offered.`);
  }
}

function outside(request: RequestHeader, rules: Rules): string | undefined {
  if (request.length === 0) return 'The length is 0.';
  if (request.offset + BigInt(request.length) > BigInt(rules.sizeBytes)) {
    return `Offset ${request.offset} and length ${request.length} go beyond the size, ${rules.sizeBytes}.`;
  }
  return undefined;
}

function validateRead(request: RequestHeader, rules: Rules): Verdict {
  const allowed = rules.structured ? NBD_CMD_FLAG_DF : 0;
  if ((request.flags & ~allowed) !== 0) return refused(NBD_EINVAL, `READ flags ${request.flags} were not offered.`);
  const wrong = outside(request, rules);
  if (wrong !== undefined) return refused(NBD_EINVAL, wrong);
  if (request.length > NBD_MAX_READ_BYTES) {
    return refused(NBD_EINVAL, `READ of ${request.length} bytes; the limit is ${NBD_MAX_READ_BYTES}.`);
  }
  // The protocol lets a server refuse large reads that may not be fragmented, with this error, from 64 KiB on.
  if (request.flags & NBD_CMD_FLAG_DF && request.length > WHOLE_MAX_BYTES) {
    return refused(
      NBD_EOVERFLOW,
      `READ of ${request.length} bytes without fragments; the limit is ${WHOLE_MAX_BYTES}.`,
    );
  }
  return { kind: 'read', offset: Number(request.offset), length: request.length };
}

function validateHash(request: RequestHeader, rules: Rules): Verdict {
  if (!rules.hashes || request.flags !== 0) return refused(NBD_EINVAL, `Command ${request.type} was not offered.`);
  const wrong = outside(request, rules);
  if (wrong !== undefined) return refused(NBD_EINVAL, wrong);
  if (request.length > BLOCK_BYTES) {
    return refused(NBD_EINVAL, `A hash of ${request.length} bytes; the limit is ${BLOCK_BYTES}.`);
  }
  return { kind: 'hash', offset: Number(request.offset), length: request.length };
}

function validateStatus(request: RequestHeader, rules: Rules): Verdict {
  if (!rules.allocation) return refused(NBD_EINVAL, 'BLOCK_STATUS needs base:allocation, which was not negotiated.');
  if ((request.flags & ~NBD_CMD_FLAG_REQ_ONE) !== 0) {
    return refused(NBD_EINVAL, `BLOCK_STATUS flags ${request.flags} were not offered.`);
  }
  const wrong = outside(request, rules);
  if (wrong !== undefined) return refused(NBD_EINVAL, wrong);
  return {
    kind: 'status',
    offset: Number(request.offset),
    length: request.length,
    one: (request.flags & NBD_CMD_FLAG_REQ_ONE) !== 0,
  };
}
