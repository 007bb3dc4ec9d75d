import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash, generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { fileOfPackage, readIndex } from '../../../iso/lib/apk-format.ts';
import { addBundle, entryFiles } from '../../../iso/lib/bundle.ts';
import { cacheFolder, forgetUnused, hashOf, locked, remembered } from '../../../iso/lib/cache.ts';
import { pickMirrors, sourcesList } from '../../../iso/lib/debian-mirror.ts';
import { Tree } from '../../../iso/lib/tree.ts';

const repository = join(import.meta.dirname, '../../..');
let work: string;
before(() => {
  work = mkdtempSync(join(tmpdir(), 'rehost-iso-'));
});
after(() => rmSync(work, { recursive: true, force: true }));

void test("iso debian: the mirror is the one of the machine's own sources, whatever its release", () => {
  const lines = [
    'https://packages.example/tool stable-tool',
    'https://node.example/node_20.x nodistro',
    'http://mirror.example/debian/ bookworm',
    'http://mirror.example/debian/ bookworm-updates',
    'http://security.example/debian-security/ bookworm-security',
  ];
  const mirrors = pickMirrors(lines.join('\n'));
  assert.deepEqual(mirrors, {
    main: 'http://mirror.example/debian/',
    security: 'http://security.example/debian-security/',
  });
  assert.equal(
    sourcesList(mirrors, '/k.gpg'),
    'deb [signed-by=/k.gpg] http://mirror.example/debian/ trixie main\n' +
      'deb [signed-by=/k.gpg] http://mirror.example/debian/ trixie-updates main\n' +
      'deb [signed-by=/k.gpg] http://security.example/debian-security/ trixie-security main\n',
  );
  assert.throws(() => pickMirrors(lines.slice(0, 2).join('\n')), /names no Debian mirror/);
});

void test('iso alpine: without a mirror and key, or with one that cannot be read, one sentence and a failure', () => {
  const stop = (args: readonly string[]): string => {
    const env = { ...process.env, XDG_CACHE_HOME: join(work, 'cache') };
    for (const name of ['REHOST_ALPINE_MIRROR', 'REHOST_ALPINE_KEY']) Reflect.deleteProperty(env, name);
    const main = join(repository, 'iso/main.ts');
    const child = spawnSync(
      process.execPath,
      [main, 'transfer', '--base', 'alpine', '--out', join(work, 'out'), ...args],
      {
        env,
      },
    );
    assert.equal(child.status, 1);
    const said = child.stderr.toString();
    assert.equal(said.trim().split('\n').length, 1, said);
    return said;
  };
  assert.match(stop([]), /none is named: give --mirror URL and --key FILE/);
  const key = join(work, 'a.pub');
  assert.match(stop(['--mirror', 'http://127.0.0.1:1/alpine', '--key', key]), /key file .* is missing/);
  writeFileSync(key, 'no key');
  assert.match(stop(['--mirror', 'http://127.0.0.1:1/alpine', '--key', key]), /mirror cannot be read: http:\/\/127/);
});

/** A tar member as abuild makes it: made by tar, its end-of-archive blocks cut off where more members follow. */
function member(name: string, content: Buffer): Buffer {
  const folder = mkdtempSync(join(work, 'member-'));
  mkdirSync(join(folder, name, '..'), { recursive: true });
  writeFileSync(join(folder, name), content);
  return gzipSync(execFileSync('tar', ['--format=ustar', '-C', folder, '-cf', '-', name]));
}

void test('iso alpine: an index must be signed by the named key, and a package must be the one of the index', () => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = { name: 'test.rsa.pub', pem: publicKey.export({ type: 'spki', format: 'pem' }).toString() };
  const data = member('sbin/apk.static', Buffer.from('the program'));
  const hash = createHash('sha256').update(data).digest('hex');
  const control = member('.PKGINFO', Buffer.from(`pkgname = apk-tools-static\ndatahash = ${hash}\n`));
  const sha1 = createHash('sha1').update(control).digest('base64');
  const list = member('APKINDEX', Buffer.from(`C:Q1${sha1}\nP:apk-tools-static\nV:2.14.0-r0\n\n`));
  const signed = (by = privateKey): Buffer =>
    Buffer.concat([member('.SIGN.RSA.test.rsa.pub', sign('sha1', list, by)), list]);
  const apk = Buffer.concat([member('.SIGN.RSA.test.rsa.pub', sign('sha1', control, privateKey)), control, data]);

  const [entry] = readIndex(signed(), key);
  assert.ok(entry);
  assert.deepEqual([entry.name, entry.version], ['apk-tools-static', '2.14.0-r0']);
  assert.equal(fileOfPackage(apk, entry, 'sbin/apk.static').toString(), 'the program');

  const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  assert.throws(() => readIndex(signed(other), key), /not signed by test\.rsa\.pub/);
  assert.throws(() => readIndex(list, key), /not signed/);
  const changed = member('sbin/apk.static', Buffer.from('another one'));
  const swapped = Buffer.concat([apk.subarray(0, apk.length - data.length), changed]);
  assert.throws(() => fileOfPackage(swapped, entry, 'sbin/apk.static'), /damaged/);
  assert.throws(
    () => fileOfPackage(apk, { ...entry, controlSha1: 'x' }, 'sbin/apk.static'),
    /not the one of the index/,
  );
});

void test('iso bundle: a program and its worker become flat files that Node runs', async () => {
  const folder = join(work, 'program');
  mkdirSync(join(folder, 'deep'), { recursive: true });
  writeFileSync(
    join(folder, 'main.ts'),
    `import { extname } from 'node:path'; import { Worker } from 'node:worker_threads';
     import { answer } from './deep/answer.ts';
     new Worker(new URL(\`./sum-worker\${extname(import.meta.filename)}\`, import.meta.url)).on('message', (m) => console.log(m, answer));`,
  );
  writeFileSync(join(folder, 'deep/answer.ts'), 'export const answer: number = 42;');
  writeFileSync(
    join(folder, 'deep/sum-worker.ts'),
    "import { parentPort } from 'node:worker_threads'; import { answer } from './answer.ts'; parentPort?.postMessage(answer + 1);",
  );
  const entries = entryFiles(folder);
  const tree = new Tree();
  await addBundle(tree, repository, entries);
  const out = join(work, 'flat');
  mkdirSync(out);
  for (const [path, entry] of tree.sorted()) {
    if (entry.kind === 'file') writeFileSync(join(out, path.replace('usr/lib/rehost/', '')), entry.data);
  }
  assert.deepEqual(readdirSync(out), ['main.mjs', 'sum-worker.mjs']);
  assert.equal(execFileSync(process.execPath, [join(out, 'main.mjs')]).toString(), '43 42\n');

  writeFileSync(join(folder, 'sum-worker.ts'), '');
  assert.throws(() => entryFiles(folder), /Two workers are named sum-worker\.ts/);
});

void test('iso bundle: a source that does not build is named', async () => {
  const file = join(work, 'main.ts');
  writeFileSync(file, "import './absent.ts';");
  await assert.rejects(addBundle(new Tree(), repository, [file]), /absent\.ts/);
});

void test('iso cache: where it is, and that a byte in another part is another key', () => {
  assert.equal(cacheFolder({ XDG_CACHE_HOME: '/c' }, '/home/u'), '/c/rehost');
  assert.equal(cacheFolder({ XDG_CACHE_HOME: 'c' }, '/home/u'), '/home/u/.cache/rehost');
  assert.equal(cacheFolder({}, '/home/u'), '/home/u/.cache/rehost');
  assert.notEqual(hashOf('ab', 'c'), hashOf('a', 'bc'));
});

void test('iso cache: two processes build one after the other, and a dead one does not stop the next', async () => {
  const folder = join(work, 'locked');
  const code = `
    import { appendFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { locked } from ${JSON.stringify(pathToFileURL(join(repository, 'iso/lib/cache.ts')).href)};
    await locked(${JSON.stringify(folder)}, async () => {
      appendFileSync(${JSON.stringify(join(work, 'order'))}, 'in ');
      await sleep(300);
      appendFileSync(${JSON.stringify(join(work, 'order'))}, 'out ');
    });`;
  const order = join(work, 'order');
  const first = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'inherit' });
  const ended = once(first, 'exit');
  while (!existsSync(order)) await sleep(10);
  await locked(folder, () => Promise.resolve(appendFileSync(order, 'second')));
  assert.equal(readFileSync(order, 'utf8'), 'in out second');
  assert.deepEqual(await ended, [0, null]);

  const dead = spawnSync(process.execPath, ['-e', '']).pid;
  writeFileSync(join(folder, 'lock'), String(dead));
  assert.equal(await locked(folder, () => Promise.resolve('taken over')), 'taken over');
});

void test('iso cache: what was used within a month stays, the rest goes', async () => {
  const cache = join(work, 'old');
  const segments = join(cache, 'segments');
  const [used, unused, image] = ['used', 'unused', 'image'].map((name) => hashOf(name));
  assert.ok(used && unused && image);
  for (const folder of [image, 'apt', 'work-killed']) mkdirSync(join(cache, folder), { recursive: true });
  const make = (name: string): Promise<Buffer> => remembered(segments, name, () => Promise.resolve(Buffer.from(name)));
  await make(used);
  await make(unused);
  const longAgo = new Date(Date.now() - 31 * 24 * 3600 * 1000);
  for (const path of [join(segments, used), join(segments, unused), join(cache, image), join(cache, 'apt')]) {
    utimesSync(path, longAgo, longAgo);
  }
  await make(used);
  await forgetUnused(cache);
  assert.deepEqual(readdirSync(segments), [used]);
  assert.deepEqual(readdirSync(cache).sort(), ['apt', 'segments']);
});
