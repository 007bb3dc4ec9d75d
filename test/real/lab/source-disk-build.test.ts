import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { run } from '../../lab/command.ts';
import { removeDeadBuilds } from '../../lab/source-builds.ts';

const MAIN = join(import.meta.dirname, 'build-child', 'main.ts');
const LIMIT_MS = 300_000;
let cache: string;

before(async () => {
  cache = await mkdtemp(join(tmpdir(), 'rehost-build-'));
});
after(() => rm(cache, { recursive: true }));

/** A build that has reached the installation of packages: mounts, a loop device and tools are in use. */
async function midway(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [MAIN], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, XDG_CACHE_HOME: cache },
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
  let log = '';
  for await (const text of child.stdout.setEncoding('utf8')) {
    log += String(text);
    if (log.includes('I: installing essential packages')) {
      clearTimeout(timer);
      return child;
    }
  }
  throw new Error(`the build ended before it was midway: ${log}`);
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}

const folder = (): string => join(cache, 'rehost', 'source-disks');
const loops = async (): Promise<string[]> =>
  (await run(['losetup', '--noheadings', '--output', 'BACK-FILE', '--list']))
    .split('\n')
    .filter((line) => line.startsWith(cache));

/** Command lines of processes that work in the cache folder. */
async function workers(): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    // A process that ends while it is looked at is not there.
    const argv = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (argv.includes(cache)) found.push(argv);
  }
  return found;
}

async function waitForNone(what: () => Promise<string[]>): Promise<void> {
  for (const deadline = Date.now() + 30_000; ; ) {
    const left = await what();
    if (left.length === 0) return;
    assert.ok(Date.now() < deadline, `still there: ${left.join('\n')}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

void test('source disk: a build that gets SIGTERM leaves no process, no loop device and no file', async () => {
  const child = await midway();
  assert.equal((await loops()).length, 1);
  await end(child, 'SIGTERM');
  await waitForNone(workers);
  await waitForNone(loops);
  assert.deepEqual(await readdir(folder()), []);
});

void test('source disk: the processes of a killed build end with it, and the next build removes the rest', async () => {
  const child = await midway();
  await end(child, 'SIGKILL');
  await waitForNone(workers);
  assert.equal((await loops()).length, 1);
  assert.equal((await readdir(folder())).length, 1);
  await removeDeadBuilds(folder());
  await waitForNone(loops);
  assert.deepEqual(await readdir(folder()), []);
});
