/** A source machine that boots a probe image through the real PXE service, beside the LAN's own DHCP server. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Lab, openLab } from '../../lab/namespace.ts';
import { writeProbeImage } from '../../lab/probe-image.ts';
import type { SourceKind } from '../../lab/source-disk/layout.ts';
import { buildSourceDisk, copySourceDisk } from '../../lab/source-disk.ts';
import { createSourceMachine, type SourceMachine, type SourceMachineOptions } from '../../lab/source-machine.ts';
import { startBootServer } from './boot-server.ts';

/** More than any agent image so far: the old iPXE of Debian 12 has to load it too. */
const PAYLOAD_BYTES = 128 * 1024 ** 2;
const BOOT_LIMIT_MS = 600_000;

export interface NetworkBoot {
  lab: Lab;
  machine: SourceMachine;
  /** What the PXE service and the boot files' server said so far. */
  serverLog: () => string;
}

export interface Hooks extends Pick<SourceMachineOptions, 'networkBoot'> {
  /** Runs right after power-on. */
  steer?: (boot: NetworkBoot) => Promise<void>;
  /** Runs when the probe has been checked and the machine is off. */
  after?: (boot: NetworkBoot) => Promise<void>;
}

/** Boots a machine of this kind from the network. Checks that the probe saw all it should. */
export async function networkBoots(
  t: TestContext,
  kind: SourceKind,
  { steer = async () => undefined, after = async () => undefined, ...options }: Hooks = {},
): Promise<void> {
  const disk = await buildSourceDisk(kind, { log: (line) => t.diagnostic(line) });
  const lab = await openLab();
  try {
    const sha256 = await writeProbeImage(lab.directory, disk.kernelPath, PAYLOAD_BYTES);
    const { pin, log: serverLog } = await startBootServer(lab, lab.directory);
    const copy = await copySourceDisk(disk, join(lab.directory, 'source'));
    const machine = await createSourceMachine(lab, { kind, ...copy, ...options });
    const poweredOn = Date.now();
    await machine.start({ boot: 'network' });
    const boot = { lab, machine, serverLog };
    await steer(boot);
    await machine.waitForConsole(/probe-end/, BOOT_LIMIT_MS);
    t.diagnostic(`in the probe image ${((Date.now() - poweredOn) / 1000).toFixed(1)} s after power-on`);
    await machine.waitForPowerOff(BOOT_LIMIT_MS);

    const text = machine.consoleText();
    assert.match(text, new RegExp(`probe-sha256 ${sha256} `));
    assert.match(text, new RegExp(`probe-firmware ${kind}`));
    const words = /probe-cmdline (.*)/.exec(text)?.[1]?.trim().split(/\s+/) ?? [];
    for (const word of [
      'rehost.orchestrator=10.77.0.1:8443',
      'rehost.boot=http://10.77.0.1:8480',
      `rehost.pin=${pin}`,
      'raid=noautodetect',
      'console=ttyS0,115200',
    ])
      assert.ok(words.includes(word), `the kernel's command line lacks ${word}: ${words.join(' ')}`);
    // The address came from the LAN's own server, the boot information from ours.
    assert.match(lab.dhcpLog(), new RegExp(`DHCPACK\\(eth0\\) 10\\.77\\.0\\.\\d+ ${machine.mac}`));
    assert.doesNotMatch(serverLog(), /DHCPACK/);
    await after(boot);
    for (const line of serverLog().split('\n')) if (line.startsWith('http ')) t.diagnostic(line);
  } finally {
    await lab.close();
  }
}
