/** Builds a source disk into the cache that the environment names; its steps go to stdout. */
import { buildSourceDisk } from '../../../lab/source-disk.ts';

await buildSourceDisk('bios', { log: (line) => console.log(line) });
