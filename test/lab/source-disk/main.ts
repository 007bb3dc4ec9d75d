/** The disk builder as a process: `main.ts KIND FOLDER`. Its steps go to stdout, one line each; facts.json is written last. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runCleanups } from '../cleanup.ts';
import { buildDisk } from './build.ts';

const [kind, folder] = process.argv.slice(2);
if ((kind !== 'bios' && kind !== 'uefi') || folder === undefined) {
  console.error('usage: main.ts bios|uefi FOLDER');
  process.exitCode = 2;
} else {
  try {
    const facts = await buildDisk(kind, folder, (line) => console.log(line));
    await writeFile(join(folder, 'facts.json'), `${JSON.stringify(facts, null, 2)}\n`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  } finally {
    if ((await runCleanups()) > 0) process.exitCode = 1;
  }
}
