/** Debian packages, resolved and downloaded by apt in a root of its own, unpacked without running any script of theirs. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfThere, writeWhole } from './cache.ts';
import { machineMirrors, sourcesList } from './debian-mirror.ts';
import { ImageError } from './errors.ts';
import type { PackageBase, PackageList, ResolvedPackage } from './recipe.ts';
import { run } from './run.ts';

const KEYRINGS = ['/usr/share/keyrings/debian-archive-keyring.pgp', '/usr/share/keyrings/debian-archive-keyring.gpg'];
/** Package lists younger than this are not asked for again, ms. */
const LISTS_FRESH_MS = 6 * 3600 * 1000;
/** Top folders that Debian merged into /usr; they must be links before the first package is unpacked. */
const MERGED = ['bin', 'sbin', 'lib', 'lib64'];
/** One line of `apt-get --print-uris`: 'URI' FILE BYTES HASH. */
const URI_LINE = /^'[^']+' (\S+)_([^_\s]+)_(?:amd64|all)\.deb (\d+) ?(\S*)$/;

export interface DebianOptions {
  /** Kept between builds: package lists and downloaded packages. */
  readonly cache: string;
  /** Ask the mirror for new lists even if those at hand are fresh. */
  readonly refresh: boolean;
  readonly log: (line: string) => void;
}

/** Opens the Debian base: writes apt's private root and brings its package lists up to date. */
export async function openDebian(options: DebianOptions): Promise<PackageBase> {
  const apt = join(options.cache, 'apt');
  for (const folder of ['lists/partial', 'archives/partial', 'none/partial']) {
    await mkdir(join(apt, folder), { recursive: true });
  }
  await updateLists(apt, options);
  return {
    resolve: (list) => resolve(apt, list),
    unpack: (list, root) => unpack(apt, list, root),
  };
}

/** The machine's own apt configuration stays in force (proxies, for one), but none of its folders are used. */
function aptArgs(apt: string, archives = 'archives'): string[] {
  const settings = {
    'Dir::State': apt,
    'Dir::State::lists': join(apt, 'lists'),
    'Dir::State::status': join(apt, 'status'),
    'Dir::Cache': apt,
    'Dir::Cache::archives': join(apt, archives),
    'Dir::Etc::sourcelist': join(apt, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::Etc::preferences': '/dev/null',
    'Dir::Etc::preferencesparts': '/dev/null',
    'APT::Architecture': 'amd64',
    'APT::Architectures': 'amd64',
    'APT::Install-Recommends': 'false',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    // apt's unprivileged user cannot enter a cache in root's home.
    'APT::Sandbox::User': 'root',
  };
  return Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`]);
}

async function updateLists(apt: string, options: DebianOptions): Promise<void> {
  const keyring = KEYRINGS.find((path) => existsSync(path));
  if (keyring === undefined) {
    throw new ImageError("Debian's archive keys are missing.", 'Install the package debian-archive-keyring.');
  }
  const sources = sourcesList(await machineMirrors(), keyring);
  const sourcesPath = join(apt, 'sources.list');
  const stamp = join(apt, 'updated');
  const same = (await readIfThere(sourcesPath))?.toString() === sources;
  const age = same && existsSync(stamp) ? Date.now() - (await stat(stamp)).mtimeMs : Number.POSITIVE_INFINITY;
  if (age < LISTS_FRESH_MS && !options.refresh) return;
  await writeWhole(sourcesPath, sources);
  try {
    // Without this, apt-get takes a mirror that does not answer for a warning.
    await run('apt-get', [...aptArgs(apt), '-q', '-o', 'APT::Update::Error-Mode=any', 'update']);
  } catch (error) {
    if (age === Number.POSITIVE_INFINITY) {
      throw new ImageError(
        'The Debian mirror cannot be read.',
        "Check the network and this machine's apt sources.",
        error,
      );
    }
    options.log(
      `The Debian mirror cannot be read; going on with package lists that are ${Math.round(age / 3.6e6)} h old.`,
    );
    return;
  }
  await writeWhole(stamp, '');
  // Packages that the mirror has replaced will not be asked for again.
  await run('apt-get', [...aptArgs(apt), '-qq', 'autoclean']);
}

async function install(apt: string, list: PackageList, archives: string, action: string): Promise<string> {
  const provided = list.assumed.map((name) => `${name} (= 99)`).join(', ');
  const status = `Package: rehost-image\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nMaintainer: Rehost\nDescription: packages taken as installed\n${provided === '' ? '' : `Provides: ${provided}\n`}`;
  await writeWhole(join(apt, 'status'), status);
  return run('apt-get', [...aptArgs(apt, archives), '-qq', '-y', action, 'install', list.kernel, ...list.packages]);
}

async function resolve(apt: string, list: PackageList): Promise<ResolvedPackage[]> {
  // Packages that were downloaded already are not printed: an empty folder stands for the archive.
  const lines = (await install(apt, list, 'none', '--print-uris')).split('\n').filter((line) => line !== '');
  const packages = lines.map((line) => {
    const [, name, version, bytes, hash] = URI_LINE.exec(line) ?? [];
    if (name === undefined || version === undefined) {
      throw new ImageError(`apt-get printed a line that is not a package: ${line}`, 'Report it: apt has changed.');
    }
    return { name, version: decodeURIComponent(version), identity: `${line.split(' ')[1]} ${bytes} ${hash}` };
  });
  return packages.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function unpack(apt: string, list: PackageList, root: string): Promise<void> {
  const packages = await resolve(apt, list);
  await install(apt, list, 'archives', '--download-only');
  for (const folder of MERGED) {
    mkdirSync(join(root, 'usr', folder), { recursive: true });
    symlinkSync(`usr/${folder}`, join(root, folder));
  }
  for (const { identity } of packages) {
    await unpackPackage(join(apt, 'archives', identity.split(' ')[0] ?? ''), root);
  }
}

/** `dpkg-deb --fsys-tarfile | tar -x`: dpkg-deb's own --extract would replace the links of a merged /usr with folders. */
async function unpackPackage(file: string, root: string): Promise<void> {
  const archive = spawn('dpkg-deb', ['--fsys-tarfile', file], { stdio: ['ignore', 'pipe', 'pipe'] });
  const tar = spawn('tar', ['-x', '-C', root, '--keep-directory-symlink', '--no-same-owner'], {
    stdio: [archive.stdout, 'ignore', 'pipe'],
  });
  // tar holds the pipe now; while this process held it too, dpkg-deb would not notice tar's end.
  archive.stdout.destroy();
  let messages = '';
  for (const child of [archive, tar]) {
    child.stderr?.on('data', (data: Buffer) => {
      messages += data.toString();
    });
  }
  const codes = await Promise.all(
    [archive, tar].map((child) => {
      return new Promise<number | null>((done, failed) => child.on('error', failed).on('close', (code) => done(code)));
    }),
  );
  if (codes.some((code) => code !== 0)) {
    throw new ImageError(`${file} cannot be unpacked: ${messages.trim()}`, 'Remove the cache folder and build again.');
  }
}
