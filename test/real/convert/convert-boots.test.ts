import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { onExit } from '../../lab/cleanup.ts';
import { runAny } from '../../lab/command.ts';
import { SOURCE_MAC } from '../../lab/source-disk/layout.ts';
import { convert, sourceCopy } from './guest-disks.ts';

/** Software emulation on a shared machine: Debian needs some 60 s to its login prompt. */
const BOOT_LIMIT_MS = 8 * 60_000;
const PAUSE_MS = 1000;

/**
 * The BIOS kind is the harder one for the NIC's name: its initramfs has virtio_net already, is not built again and
 * therefore knows nothing of the .link file; the NIC is renamed there by its new slot, and must get its old name back.
 */
void test('convert: the BIOS Debian starts on virtio-scsi, shows a login on ttyS0, and keeps NIC name and address', async (t) => {
  const disk = await sourceCopy('bios');
  try {
    await convert(disk);
    await disk.loop.detach();
    const port = await freePort();
    const serial = join(disk.folder, 'serial.log');
    const machine = [
      ...['-accel', 'tcg,thread=multi', '-cpu', 'max', '-smp', '2', '-m', '1024', '-machine', 'pc', '-display', 'none'],
      ...['-drive', `if=none,id=disk,format=raw,file=${disk.path}`, '-device', 'virtio-scsi-pci'],
      ...['-device', 'scsi-hd,drive=disk', '-serial', `file:${serial}`, '-monitor', 'none'],
      // Closed to the outside; the guest is reached on the address that it had on the source, and on no other.
      ...[
        '-netdev',
        `user,id=lan,restrict=on,net=10.77.0.0/24,hostfwd=tcp:127.0.0.1:${port}-${disk.source.address}:22`,
      ],
      // Another slot than the source's: by its place the NIC would be called ens9.
      ...['-device', `virtio-net-pci,netdev=lan,mac=${SOURCE_MAC},addr=0x9`],
    ];
    const qemu = spawn('qemu-system-x86_64', machine, { stdio: ['ignore', 'ignore', 'pipe'] });
    let words = '';
    qemu.stderr.setEncoding('utf8').on('data', (text: string) => {
      words = (words + text).slice(-2000);
    });
    const ended = new Promise<void>((resolve) => {
      qemu.once('close', () => resolve());
    });
    const stop = onExit('target machine of the conversion test', async () => {
      qemu.kill('SIGKILL');
      await ended;
    });
    try {
      const begin = performance.now();
      const deadline = begin + BOOT_LIMIT_MS;
      const console = async (): Promise<string> => (existsSync(serial) ? await readFile(serial, 'latin1') : '');
      while (!/^\S+ login: /m.test(await console())) {
        assert.equal(qemu.exitCode, null, `QEMU ended: ${words}`);
        assert.ok(
          performance.now() < deadline,
          `no login prompt on ttyS0; the console ends with: ${(await console()).slice(-1500)}`,
        );
        await sleep(PAUSE_MS);
      }
      t.diagnostic(`login prompt on ttyS0 after ${Math.round((performance.now() - begin) / 1000)} s`);
      assert.match(await console(), new RegExp(`^${disk.source.hostName} login: `, 'm'));

      const ask = async (...argv: string[]): Promise<string> => {
        const ssh = [
          'ssh',
          '-p',
          String(port),
          '-i',
          disk.source.sshKeyPath,
          '-o',
          'BatchMode=yes',
          '-o',
          'ConnectTimeout=20',
        ];
        const trust = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'LogLevel=ERROR'];
        for (;;) {
          const result = await runAny([...ssh, ...trust, 'root@127.0.0.1', ...argv], { timeoutMs: BOOT_LIMIT_MS });
          if (result.code === 0) return result.stdout;
          assert.ok(performance.now() < deadline, `the guest does not answer on its old address: ${result.stderr}`);
          await sleep(PAUSE_MS);
        }
      };
      const mac = await ask('cat', `/sys/class/net/${disk.source.nicName}/address`);
      assert.equal(mac.trim(), SOURCE_MAC, 'the NIC has its old name');
      assert.match(await ask('cat', '/proc/cmdline'), / root=UUID=\S+ .*console=ttyS0,115200 console=tty0/);
      assert.match(await ask('cat', '/proc/swaps'), /^\/dev\/\S+\s+partition/m, 'swap is on');
    } finally {
      await stop();
    }
  } finally {
    await disk.remove();
  }
});

/** A port of loopback that is free now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('A TCP server has no port.');
  return address.port;
}
