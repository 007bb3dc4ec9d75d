import { test } from 'node:test';
import { networkBoots } from './network-boot.ts';

const BOOT_LIMIT_MS = 300_000;

void test('network boot: a UEFI machine whose NIC is iPXE gets the script at once, and boots its own disk afterwards', async (t) => {
  await networkBoots(t, 'uefi', {
    after: async ({ machine }) => {
      // The firmware rewrote its boot order for the network boot: the disk's own entry must have survived that.
      await machine.start({ boot: 'disk' });
      await machine.waitForConsole(/starting Boot\d+ "debian"/, BOOT_LIMIT_MS);
      await machine.stop();
    },
  });
});
