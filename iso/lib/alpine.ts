/** Alpine packages from a mirror and key that the user names, resolved and unpacked by that mirror's own apk. */
import { chmodSync } from 'node:fs';
import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileOfPackage, type IndexEntry, type PublicKey, readIndex } from './apk-format.ts';
import { readIfThere, writeWhole } from './cache.ts';
import { ImageError } from './errors.ts';
import type { PackageBase, PackageList, ResolvedPackage } from './recipe.ts';
import { run } from './run.ts';

const ARCHITECTURE = 'x86_64';
const REPOSITORIES = ['main', 'community'];
const FETCH_TIMEOUT_MS = 60_000;
/** One line of `apk --simulate add`: (1/20) Installing musl (1.2.5-r10). */
const INSTALLING = /^\(\d+\/\d+\) Installing (\S+) \((\S+)\)/;

export interface AlpineOptions {
  /** Kept between builds. */
  readonly cache: string;
  /** A release on a mirror, the folder that holds `main` and `community`. */
  readonly mirror: string | undefined;
  /** The public key that signs the mirror's index, under its own file name. */
  readonly key: string | undefined;
}

/** Opens the Alpine base. Throws ImageError with one sentence when no mirror and key are named, or the mirror cannot be read. */
export async function openAlpine({ cache, mirror, key }: AlpineOptions): Promise<PackageBase> {
  if (!mirror || !key) {
    throw new ImageError(
      'The alpine base takes its packages from a mirror and key that you name, and none is named:',
      'give --mirror URL and --key FILE, or set REHOST_ALPINE_MIRROR and REHOST_ALPINE_KEY.',
    );
  }
  const url = mirror.replace(/\/+$/, '');
  const keyName = basename(key);
  const pem = await readIfThere(key);
  if (pem === null) throw new ImageError(`The key file ${key} is missing.`, "Name the mirror's public key.");

  const work = join(cache, 'apk');
  await mkdir(join(work, 'keys'), { recursive: true });
  await copyFile(key, join(work, 'keys', keyName));
  await writeWhole(join(work, 'repositories'), REPOSITORIES.map((name) => `${url}/${name}\n`).join(''));
  const apk = await bringApk(work, url, { name: keyName, pem: pem.toString() });
  return {
    resolve: (list) => resolve(apk, work, list),
    unpack: async (list, root) => {
      await run(apk, [...apkArgs(work, root), 'add', list.kernel, ...list.packages]);
    },
  };
}

/** apk.static of the mirror itself: signed index -> the package's hash -> the program. */
async function bringApk(work: string, url: string, key: PublicKey): Promise<string> {
  const folder = `${url}/main/${ARCHITECTURE}`;
  const entry = readIndex(await fetchFile(`${folder}/APKINDEX.tar.gz`), key).find(isApk);
  if (entry === undefined) throw new ImageError('The Alpine mirror has no apk-tools-static.', 'Name another mirror.');
  const path = join(work, `apk-${entry.version}`);
  if ((await readIfThere(path)) === null) {
    const packed = await fetchFile(`${folder}/${entry.name}-${entry.version}.apk`);
    await writeWhole(path, fileOfPackage(packed, entry, 'sbin/apk.static'));
  }
  chmodSync(path, 0o755);
  return path;
}

function isApk(entry: IndexEntry): boolean {
  return entry.name === 'apk-tools-static';
}

async function fetchFile(url: string): Promise<Buffer> {
  try {
    if (url.startsWith('file://')) return await readFile(new URL(url));
    const response = await fetch(url, { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    return Buffer.from(await response.arrayBuffer());
  } catch (error) {
    throw new ImageError(
      `The Alpine mirror cannot be read: ${url}.`,
      'Check the mirror that was named, and the network.',
      error,
    );
  }
}

function apkArgs(work: string, root: string): string[] {
  return [
    ...['--root', root, '--initdb', '--arch', ARCHITECTURE, '--keys-dir', join(work, 'keys')],
    ...['--repositories-file', join(work, 'repositories'), '--no-scripts', '--no-cache', '--no-progress'],
  ];
}

async function resolve(apk: string, work: string, list: PackageList): Promise<ResolvedPackage[]> {
  const nowhere = join(work, 'simulated-root');
  await mkdir(nowhere, { recursive: true });
  const lines = await run(apk, [...apkArgs(work, nowhere), '--simulate', 'add', list.kernel, ...list.packages]);
  const packages = lines.split('\n').flatMap((line) => {
    const [, name, version] = INSTALLING.exec(line) ?? [];
    return name === undefined || version === undefined ? [] : [{ name, version, identity: `${name}-${version}` }];
  });
  if (packages.length === 0) throw new ImageError('apk resolved no packages.', 'Report it: apk has changed.');
  return packages.sort((a, b) => (a.name < b.name ? -1 : 1));
}
