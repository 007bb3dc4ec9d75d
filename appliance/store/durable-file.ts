/** Writing a small file so that after a crash it is the complete old one or the complete new one. */
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Replaces `path` with `content`; resolves when content and name are on disk. Mode 0600.
 * One writer at a time: the temporary name is fixed, so that a crash leaves at most one, which the next write replaces.
 */
export async function writeDurably(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w', 0o600);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

/** The folder's entries (names made, renamed, removed) are on disk afterwards. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
