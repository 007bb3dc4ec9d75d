/** Transfer tokens: 256 bits, one per job. Derived, so that a restarted orchestrator says the same token again and stores none. */
import { createHmac, randomBytes } from 'node:crypto';
import { open, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { TOKEN_BYTES } from '../api/transfer.ts';

/** The key of the derivation: made once, 0600, fsynced before it is used. */
export async function loadTransferKey(stateDir: string): Promise<Buffer> {
  const path = join(stateDir, 'transfer.key');
  try {
    const key = await readFile(path);
    if (key.length === TOKEN_BYTES) return key;
    throw new Error(`${path} has ${key.length} bytes instead of ${TOKEN_BYTES}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const key = randomBytes(TOKEN_BYTES);
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(key);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return key;
}

/** The token of one job's copy. The PSK that both sides make of it is bound to direction and disk set besides. */
export function transferToken(key: Buffer, jobId: string): Buffer {
  return createHmac('sha256', key).update(`transfer|${jobId}`).digest();
}
