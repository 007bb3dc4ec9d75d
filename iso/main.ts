/** Builds the images: `node iso/main.ts [transfer|agent] [--base debian|alpine] [--mirror URL] [--key FILE] [--refresh]`. */
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildImage, IMAGE_NAMES } from './lib/build.ts';
import { cacheFolder } from './lib/cache.ts';
import { ImageError } from './lib/errors.ts';
import { BASES } from './lib/recipe.ts';

const USAGE =
  'iso/main.ts [transfer] [agent] [--base debian|alpine] [--mirror URL] [--key FILE] [--out FOLDER] [--refresh]';

function oneOf<T extends string>(what: string, known: readonly T[], value: string): T {
  const found = known.find((name) => name === value);
  if (found === undefined)
    throw new ImageError(`There is no ${what} '${value}'.`, `Use ${known.join(' or ')}: ${USAGE}`);
  return found;
}

/** Flags and image names; the type of what parseArgs answers follows from the options. */
function commandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        base: { type: 'string', default: 'debian' },
        mirror: { type: 'string' },
        key: { type: 'string' },
        out: { type: 'string', default: join(import.meta.dirname, '../out/images') },
        refresh: { type: 'boolean', default: false },
      },
    });
  } catch (error) {
    throw new ImageError(error instanceof Error ? error.message : String(error), USAGE, error);
  }
}

async function main(): Promise<void> {
  const { values, positionals } = commandLine();
  const base = oneOf('base', BASES, values.base);
  const names = positionals.map((name) => oneOf('image', IMAGE_NAMES, name));
  for (const name of names.length > 0 ? names : IMAGE_NAMES) {
    const started = performance.now();
    const { facts, built } = await buildImage(name, {
      base,
      cache: cacheFolder(process.env, homedir()),
      out: values.out,
      refresh: values.refresh,
      alpine: {
        mirror: values.mirror ?? process.env.REHOST_ALPINE_MIRROR,
        key: values.key ?? process.env.REHOST_ALPINE_KEY,
      },
      log: (line) => console.log(line),
    });
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const size = (facts.totalBytes / 1024 / 1024).toFixed(1);
    const limit = (facts.budgetBytes / 1024 / 1024).toFixed(0);
    const how = built ? 'built' : 'from the cache';
    console.log(`${name}: ${size} MiB of at most ${limit} MiB, Linux ${facts.kernelRelease}, ${how} in ${seconds} s`);
  }
}

try {
  await main();
} catch (error) {
  const known = error instanceof ImageError;
  console.error(known ? `${error.message} ${error.hint}` : error);
  process.exitCode = 1;
}
