/** What both kinds of source machine must do on their own before any copy of them can be judged. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { openLab } from '../../lab/namespace.ts';
import { MANIFEST } from '../../lab/source-disk/guest-data.ts';
import type { SourceKind } from '../../lab/source-disk/layout.ts';
import { buildSourceDisk, copySourceDisk } from '../../lab/source-disk.ts';
import { createSourceMachine } from '../../lab/source-machine.ts';
import { ssh, waitForSsh } from '../../lab/ssh.ts';

const BOOT_LIMIT_MS = 600_000;
const CHECK_LIMIT_MS = 600_000;

/** Boots a copy of the kind's disk from the disk itself and looks at it from inside, by SSH. */
export async function bootsFromItsOwnDisk(t: TestContext, kind: SourceKind): Promise<void> {
  const lab = await openLab();
  try {
    const started = Date.now();
    const seconds = (): string => ((Date.now() - started) / 1000).toFixed(1);
    const disk = await buildSourceDisk(kind, { log: (line) => t.diagnostic(`${seconds()} s: ${line}`) });
    t.diagnostic(`disk ready after ${seconds()} s, ${disk.usedBytes} bytes used`);
    const copy = await copySourceDisk(disk, join(lab.directory, 'source'));
    const machine = await createSourceMachine(lab, { kind, ...copy });
    const target = { address: disk.address, keyPath: disk.sshKeyPath };
    const poweredOn = Date.now();
    await machine.start({ boot: 'disk' });
    await waitForSsh(lab, target, BOOT_LIMIT_MS);
    t.diagnostic(`login by SSH ${((Date.now() - poweredOn) / 1000).toFixed(1)} s after power-on`);

    assert.equal((await ssh(lab, target, 'hostname')).trim(), disk.hostName);
    assert.equal((await ssh(lab, target, 'ls /sys/class/net')).trim(), `${disk.nicName}\nlo`);
    const hostKey = await ssh(lab, target, 'ssh-keygen -l -f /etc/ssh/ssh_host_ed25519_key.pub');
    assert.equal(hostKey.split(' ')[1], disk.hostKeyFingerprint);
    const firmware = await ssh(lab, target, 'test -d /sys/firmware/efi && echo uefi || echo bios');
    assert.equal(firmware.trim(), kind);
    const root = await ssh(lab, target, 'cat /proc/cmdline');
    assert.match(root, kind === 'bios' ? /root=\/dev\/sda2 / : /root=UUID=/);
    assert.doesNotMatch(root, /console=ttyS/);
    assert.match(await ssh(lab, target, 'swapon --noheadings --show=NAME'), /^\/dev\/sda3\s*$/);
    assert.equal((await ssh(lab, target, 'systemctl --failed --no-legend --plain')).trim(), '');

    const sum = await ssh(lab, target, `sha256sum ${MANIFEST}`, CHECK_LIMIT_MS);
    assert.equal(sum.split(' ')[0], disk.manifestSha256);
    await ssh(lab, target, `cd $(dirname ${MANIFEST}) && sha256sum --quiet --strict -c ${MANIFEST}`, CHECK_LIMIT_MS);
    t.diagnostic(`manifest checked ${((Date.now() - poweredOn) / 1000).toFixed(1)} s after power-on`);
    await machine.stop();
    assert.equal(machine.running, false);
  } finally {
    await lab.close();
  }
}
