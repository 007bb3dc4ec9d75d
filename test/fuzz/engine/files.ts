/** Where the fuzzer reads and writes. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What is kept in the repository: one folder for each target. */
export const CORPUS = join(import.meta.dirname, '..', 'corpus');
/** What runs find: inputs, and the ones that broke something. */
export const OUT = join(import.meta.dirname, '..', '..', '..', 'out', 'fuzz');

export function nameOf(input: Uint8Array): string {
  return createHash('sha256').update(input).digest('hex').slice(0, 16);
}

/** The files of a folder, by name; none when there is no folder. */
export function inputsIn(folder: string): Buffer[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .sort()
    .map((name) => readFileSync(join(folder, name)));
}

/** Writes an input under its hash; returns the path. */
export function keep(folder: string, prefix: string, input: Uint8Array): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${prefix}${nameOf(input)}`);
  writeFileSync(path, input);
  return path;
}

/** The file that says what a target's process runs at the moment. */
export function currentFile(target: string): string {
  return join(OUT, `current-${target}`);
}
