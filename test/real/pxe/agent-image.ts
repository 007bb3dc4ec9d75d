/** The agent image as `make images` left it, booted over the network on a machine whose disk it must not change. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { run } from '../../lab/command.ts';
import { openLab } from '../../lab/namespace.ts';
import type { SourceKind } from '../../lab/source-disk/layout.ts';
import { buildSourceDisk, copySourceDisk } from '../../lab/source-disk.ts';
import { createSourceMachine } from '../../lab/source-machine.ts';
import { startBootServer } from './boot-server.ts';

const IMAGES = join(import.meta.dirname, '../../../out/images');
const BOOT_LIMIT_MS = 600_000;
const HASH_LIMIT_MS = 300_000;

/** Boots the agent image until it shows its pairing code, which takes the pinned certificate; then the plug is pulled. */
export async function agentBoots(t: TestContext, kind: SourceKind): Promise<void> {
  assert.ok(existsSync(join(IMAGES, 'agent/initrd')), `there is no agent image in ${IMAGES}: run 'make images'`);
  const disk = await buildSourceDisk(kind, { log: (line) => t.diagnostic(line) });
  const lab = await openLab();
  try {
    const server = await startBootServer(lab, IMAGES);
    const copy = await copySourceDisk(disk, join(lab.directory, 'source'));
    const before = await sha256(copy.diskPath);
    const machine = await createSourceMachine(lab, { kind, ...copy });
    const poweredOn = Date.now();
    await machine.start({ boot: 'network' });
    const seconds = (): string => ((Date.now() - poweredOn) / 1000).toFixed(1);
    await machine.waitForConsole(/Rehost agent: reading this machine/, BOOT_LIMIT_MS);
    t.diagnostic(`agent runs ${seconds()} s after power-on`);
    await machine.waitForConsole(/Pairing code: [0-9A-Z]{4}-[0-9A-Z]{4}/, BOOT_LIMIT_MS);
    t.diagnostic(`pairing code ${seconds()} s after power-on`);
    assert.match(machine.consoleText(), /Disks are read-only from now on: sda\./);
    assert.match(server.log(), /http GET \/boot\/ca\.pem 200/);
    await machine.stop();
    assert.equal(await sha256(copy.diskPath), before);
  } finally {
    await lab.close();
  }
}

async function sha256(path: string): Promise<string> {
  const [hash] = (await run(['sha256sum', path], { timeoutMs: HASH_LIMIT_MS })).split(' ');
  assert.ok(hash);
  return hash;
}
