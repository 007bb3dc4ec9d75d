/** Bridges of this machine, out of a folder like /sys/class/net. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { bridgesIn } from '../../../appliance/hypervisor/libvirt/local-bridges.ts';

void test('hypervisor-bridges: bridges are found among interfaces, with whether they are up', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'rehost-net-'));
  try {
    const make = async (name: string, flags: string, ...folders: string[]) => {
      for (const one of folders) await mkdir(join(folder, name, one), { recursive: true });
      await writeFile(join(folder, name, 'flags'), flags);
    };
    await make('br-up', '0x1003\n', 'bridge', 'brif');
    await make('br-down', '0x1002\n', 'bridge');
    await make('eth0', '0x1003\n', 'queues');
    await make('port', '0x1003\n', 'brport');
    await writeFile(join(folder, 'bonding_masters'), 'bond0\n');
    const found = await bridgesIn(folder);
    assert.deepEqual(
      found.sort((a, b) => a.name.localeCompare(b.name)),
      [
        { name: 'br-down', active: false },
        { name: 'br-up', active: true },
      ],
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
