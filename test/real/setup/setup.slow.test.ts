/**
 * `make setup` in a fresh Debian 12 and a fresh Debian 13: made by mmdebstrap, entered by chroot in namespaces of their own.
 * The first run must say what was missing and end ready; the second must find nothing to do; the checks must then pass.
 */
import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { machineMirrors } from '../../../iso/lib/debian-mirror.ts';
import { run } from '../../lab/command.ts';

const REPOSITORY = resolve(import.meta.dirname, '../../..');
const LIMIT_MS = 20 * 60_000;
/** In the fresh root: the authorities of this machine. */
const AUTHORITIES = '/root/authorities.crt';

/** Debian 13 has a Node that is new enough; on Debian 12 a person brings one, here the one that runs this test. */
async function bringNode(root: string): Promise<void> {
  const npm = dirname(dirname(await realpath((await run(['which', 'npm'])).trim())));
  await cp(process.execPath, join(root, 'usr/local/bin/node'));
  await mkdir(join(root, 'usr/local/lib/node_modules'), { recursive: true });
  await cp(npm, join(root, 'usr/local/lib/node_modules/npm'), { recursive: true, dereference: false });
  await symlink('../lib/node_modules/npm/bin/npm-cli.js', join(root, 'usr/local/bin/npm'));
}

/** A minimal system with what the README asks for, and a clone of the tracked files. */
async function freshRoot(t: TestContext, suite: string): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), `rehost-setup-${suite}-`));
  t.after(() => rm(root, { recursive: true, force: true }));
  const { main: mirror } = await machineMirrors();
  const include = ['make', 'ca-certificates', ...(suite === 'trixie' ? ['nodejs', 'npm'] : ['libstdc++6'])];
  await run(
    [
      'mmdebstrap',
      '--mode=root',
      '--variant=minbase',
      `--include=${include.join(',')}`,
      suite,
      root,
      `deb ${mirror} ${suite} main`,
    ],
    {
      timeoutMs: LIMIT_MS,
    },
  );
  if (suite !== 'trixie') await bringNode(root);
  const tracked = (await run(['git', '-C', REPOSITORY, 'ls-files', '-z'])).split('\0').filter(Boolean);
  await mkdir(join(root, 'srv/rehost'));
  await run(['tar', '-C', REPOSITORY, '-cf', join(root, 'srv/tree.tar'), ...tracked]);
  await run(['tar', '-C', join(root, 'srv/rehost'), '-xf', join(root, 'srv/tree.tar')]);
  // The way to the registries is this machine's own.
  await cp('/etc/resolv.conf', join(root, 'etc/resolv.conf'), { dereference: true });
  // ... and so are the authorities that it trusts on that way; Node takes them from this file, not from the system's folder.
  await cp('/etc/ssl/certs/ca-certificates.crt', join(root, AUTHORITIES));
  const npmSettings = (await run(['npm', 'config', 'get', 'registry'])).trim();
  await writeFile(join(root, 'root/.npmrc'), `registry=${npmSettings}\n`);
  return root;
}

/** Runs a command in the root, in mount and process namespaces that end with it: nothing that a package starts survives. */
async function inRoot(root: string, argv: string[]): Promise<string> {
  const script = 'mount -t proc proc "$0/proc" && mount --bind /dev "$0/dev" && exec chroot "$0" "$@"';
  return await run(['unshare', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-ec', script, root, ...argv], {
    timeoutMs: LIMIT_MS,
    env: {
      NODE_EXTRA_CA_CERTS: AUTHORITIES,
      HOME: '/root',
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    },
  });
}

for (const [suite, version] of [
  ['bookworm', '12'],
  ['trixie', '13'],
] as const) {
  test(`setup: a fresh Debian ${version} becomes ready, and says what was missing`, {
    timeout: 2 * LIMIT_MS,
  }, async (t) => {
    const root = await freshRoot(t, suite);
    assert.match(await readFile(join(root, 'etc/os-release'), 'utf8'), new RegExp(`VERSION_ID="${version}"`));
    const first = await inRoot(root, ['make', '-C', '/srv/rehost', 'setup']);
    t.diagnostic(first.trim());
    assert.match(first, /Debian packages missing:.* libvirt-daemon-system/);
    assert.match(first, /npm packages missing/);
    assert.match(first, /ready: Node v24\./);
    const second = await inRoot(root, ['make', '-C', '/srv/rehost', 'setup']);
    assert.doesNotMatch(second, /missing/);
    assert.match(second, /ready: Node v24\./);
    await inRoot(root, ['make', '-C', '/srv/rehost', 'check']);
  });
}
