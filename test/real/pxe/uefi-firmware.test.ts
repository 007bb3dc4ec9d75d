import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkBoots } from './network-boot.ts';

void test('network boot: a UEFI firmware without iPXE is led to ipxe.efi and from there to the script', async (t) => {
  await networkBoots(t, 'uefi', {
    networkBoot: 'firmware',
    after: async ({ serverLog }) => {
      assert.match(serverLog(), /sent \/usr\/lib\/ipxe\/ipxe\.efi to 10\.77\.0\./);
    },
  });
});
