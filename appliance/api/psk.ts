/** The key of a job's data connections. Both ends derive it from the transfer token; the token itself never travels between them. */
import { hkdfSync } from 'node:crypto';
import { PSK_HKDF_INFO, PSK_IDENTITY_PREFIX } from './transfer.ts';

/** Bytes of the derived key. */
const PSK_BYTES = 32;

/** TLS-PSK identity and key of a job's data connections. */
export interface DataPsk {
  identity: string;
  key: Buffer;
}

/**
 * HKDF-SHA256 (RFC 5869) of the token with an empty salt; the info binds the key to the job, the direction and the set of
 * disks, so that a token cannot serve another copy. Disk names have no commas by their schema.
 */
export function dataPsk(token: Buffer, jobId: string, disks: readonly string[]): DataPsk {
  const info = `${PSK_HKDF_INFO}|${jobId}|pull|${[...disks].sort().join(',')}`;
  const key = Buffer.from(hkdfSync('sha256', token, Buffer.alloc(0), info, PSK_BYTES));
  return { identity: `${PSK_IDENTITY_PREFIX}${jobId}`, key };
}
