/** What was assembled of packages, kept under the hash of its inputs. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Assembly } from './assemble.ts';
import { readIfThere, touch, writeWhole } from './cache.ts';

interface Note {
  readonly kernelRelease: string;
  readonly unpackedBytes: number;
  /** SHA-256, hex, of kernel and archives: a damaged cache is built again, not booted. */
  readonly sha256: string;
}

/** The assembly of these inputs, or null when it is not kept whole and as it was written. */
export async function readKept(cache: string, key: string): Promise<Assembly | null> {
  const folder = join(cache, key);
  const [vmlinuz, archives, json] = await Promise.all(
    ['vmlinuz', 'archives', 'note.json'].map((file) => readIfThere(join(folder, file))),
  );
  if (!vmlinuz || !archives || !json) return null;
  const { kernelRelease, unpackedBytes, sha256 } = JSON.parse(json.toString()) as Note;
  if (sha256 !== sumOf(vmlinuz, archives)) return null;
  await touch(folder);
  return { vmlinuz, archives, kernelRelease, unpackedBytes };
}

export async function keep(cache: string, key: string, assembly: Assembly): Promise<void> {
  const { vmlinuz, archives, kernelRelease, unpackedBytes } = assembly;
  const folder = join(cache, key);
  const note: Note = { kernelRelease, unpackedBytes, sha256: sumOf(vmlinuz, archives) };
  await writeWhole(join(folder, 'vmlinuz'), vmlinuz);
  await writeWhole(join(folder, 'archives'), archives);
  await writeWhole(join(folder, 'note.json'), JSON.stringify(note));
}

function sumOf(vmlinuz: Buffer, archives: Buffer): string {
  return createHash('sha256').update(vmlinuz).update(archives).digest('hex');
}
