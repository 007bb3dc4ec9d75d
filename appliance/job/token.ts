/** Secrets of the engine: transfer tokens, 256 bits, one per attempt. Derived, so that a restarted orchestrator says the same token again and stores none. */
import { createHmac, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { TOKEN_BYTES } from '../api/transfer.ts';
import { writeDurably } from '../store/durable-file.ts';

/** The two keys of the engine, TOKEN_BYTES each. */
export interface JobKeys {
  /** Transfer tokens are derived from it. */
  transfer: Buffer;
  /** Seed of the Ed25519 key that signs manifests. */
  manifest: Buffer;
}

/** Kept below `stateDir`; made there where there is none yet. */
export async function loadKeys(stateDir: string): Promise<JobKeys> {
  return {
    transfer: await loadKey(join(stateDir, 'transfer.key')),
    manifest: await loadKey(join(stateDir, 'manifest.key')),
  };
}

/** Made once, 0600, fsynced before it is used. */
async function loadKey(path: string): Promise<Buffer> {
  try {
    const key = await readFile(path);
    if (key.length === TOKEN_BYTES) return key;
    throw new Error(`${path} has ${key.length} bytes instead of ${TOKEN_BYTES}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const key = randomBytes(TOKEN_BYTES);
  await writeDurably(path, key);
  return key;
}

/**
 * The token of one attempt of one job's copy: no two attempts have the same. The PSK that both sides make of it is bound to
 * direction and disk set besides.
 */
export function transferToken(key: Buffer, jobId: string, attempt: number): Buffer {
  return createHmac('sha256', key).update(`transfer|${jobId}|${attempt}`).digest();
}
