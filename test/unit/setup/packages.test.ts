/** The list of Debian packages that `make setup` installs, against the programs that are called. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const ROOT = join(import.meta.dirname, '../../..');
const LINES = readFileSync(join(ROOT, 'test/setup/packages.txt'), 'utf8').trimEnd().split('\n');
const PACKAGES = LINES.filter((line) => !line.startsWith('#'));
/** What runs on the orchestrator's machine. Agent and receiver run in images with lists of their own. */
const FOLDERS = ['appliance', 'iso', 'native', 'test'];
/** A call that starts a program which it names itself. */
const CALL = /\b(?:run|runAny|execFile|execFileSync|spawn|spawnSync)\(\s*\[?\s*'([a-z][a-z0-9_.+-]*)'/g;
/** A person brings Node.js with npm (README). */
const BROUGHT = new Set(['npm']);
const FOLDERS_OF_PROGRAMS = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];

function calledPrograms(): string[] {
  const names = new Set<string>();
  for (const folder of FOLDERS) {
    for (const file of readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      for (const [, name] of readFileSync(join(ROOT, folder, file), 'utf8').matchAll(CALL)) {
        if (name !== undefined && !BROUGHT.has(name)) names.add(name);
      }
    }
  }
  return [...names].sort();
}

/** Packages by program, also where it is an alternative or the package was built before /usr was merged. */
function packagesOf(programs: string[]): Map<string, string> {
  const candidates = programs.flatMap((program) =>
    FOLDERS_OF_PROGRAMS.map((folder) => join(folder, program))
      .filter((path) => existsSync(path))
      .map((path) => ({ program, path, real: realpathSync(path) }))
      .flatMap(({ path, real }) => [path, real, real.replace(/^\/usr/, '')].map((known) => ({ program, known }))),
  );
  // Its status says only that one of the many paths is in no package.
  const search = ['--search', ...new Set(candidates.map(({ known }) => known))];
  const { stdout } = spawnSync('dpkg-query', search, { encoding: 'utf8' });
  const owners = new Map<string, string>();
  for (const [, owner, path] of stdout.matchAll(/^([a-z0-9.+-]+)(?::[a-z0-9]+)?: (\/.*)$/gm)) {
    if (owner === undefined) continue;
    for (const { program, known } of candidates) if (known === path) owners.set(program, owner);
  }
  return owners;
}

void test('setup: the list of packages is sorted and names each once', () => {
  assert.deepEqual(PACKAGES, [...new Set(PACKAGES)].sort());
});

void test('setup: every program that is called belongs to a package of the list or to every Debian', () => {
  const programs = calledPrograms();
  assert.ok(programs.includes('qemu-img') && programs.includes('ps'), programs.join(' '));
  const essential = new Set(
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own placeholders.
    execFileSync('dpkg-query', ['--show', '--showformat', '${Essential} ${Package}\n'], { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.startsWith('yes '))
      .map((line) => line.slice(4)),
  );
  // A Debian without its package manager's front end is none that `make setup` could work on.
  essential.add('apt');
  const owners = packagesOf(programs);
  const missing = programs
    .map((program) => ({ program, owner: owners.get(program) }))
    .filter(({ owner }) => owner === undefined || !(PACKAGES.includes(owner) || essential.has(owner)));
  assert.deepEqual(missing, []);
});
