/** The agent as a process in the lab with a loop device as its only disk: a source machine without the emulated hardware around it. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Machine } from '../../appliance/api/rest.ts';
import { onExit } from '../lab/cleanup.ts';
import { run } from '../lab/command.ts';
import type { Lab } from '../lab/namespace.ts';
import { attachLoop } from '../lab/source-disk/block-device.ts';
import { buildSourceDisk, copySourceDisk } from '../lab/source-disk.ts';
import type { Appliance } from './appliance.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const ENROL_LIMIT_MS = 60_000;

/** A Debian machine's disk without its service's data: some 500 MB in use, so that one copy takes seconds. */
export async function smallSource(lab: Lab): Promise<string> {
  const source = await buildSourceDisk('bios');
  const { diskPath } = await copySourceDisk(source, join(lab.directory, 'source'));
  const loop = await attachLoop(diskPath);
  const point = join(lab.directory, 'mount');
  await mkdir(point);
  await run(['mount', loop.partition(2), point]);
  const unmount = onExit(`mount ${point}`, () => run(['umount', point]).then(() => undefined));
  await run(['rm', '-rf', join(point, 'srv/data'), join(point, 'usr/share/doc'), join(point, 'usr/share/locale')]);
  await unmount();
  return loop.device;
}

/** Starts the agent on this disk, reads the code that it shows and approves it. Answers the machine. */
export async function startAgent(lab: Lab, appliance: Appliance, device: string): Promise<Machine> {
  const folder = join(lab.directory, 'agent');
  await mkdir(folder);
  const pin = /"pin":"([0-9a-f]{64})"/.exec(appliance.log())?.[1];
  if (!pin) throw new Error(`the orchestrator does not say its pin: ${appliance.log().slice(-1000)}`);
  const commandLine = join(folder, 'cmdline');
  const screen = join(folder, 'screen');
  await writeFile(
    commandLine,
    `rehost.orchestrator=${lab.address}:8443 rehost.boot=http://${lab.address}:8480 rehost.pin=${pin}\n`,
  );
  await writeFile(screen, '');
  const argv = ['--cmdline', commandLine, '--console', screen, '--state', folder, '--disk', basename(device)];
  lab.spawn([process.execPath, join(REPOSITORY, 'agent/main.ts'), ...argv], { stdio: 'ignore' });
  for (const deadline = Date.now() + ENROL_LIMIT_MS; ; await sleep(250)) {
    const text = await readFile(screen, 'utf8');
    const code = /Pairing code: ([0-9A-Z]{4}-[0-9A-Z]{4})/.exec(text)?.[1];
    const [machine] = await appliance.rehost<Machine[]>('machines');
    if (code && machine?.online) return await appliance.rehost<Machine>('approve', machine.id, code, '--name', 'small');
    if (Date.now() > deadline) throw new Error(`the agent did not enrol; its screen: ${text}`);
  }
}
