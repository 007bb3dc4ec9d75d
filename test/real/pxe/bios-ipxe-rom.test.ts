import { test } from 'node:test';
import { networkBoots } from './network-boot.ts';

void test('network boot: a BIOS machine whose NIC is iPXE gets the script at once', async (t) => {
  await networkBoots(t, 'bios');
});
