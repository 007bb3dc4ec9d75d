import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkBoots } from './network-boot.ts';

const PROMPT_LIMIT_MS = 300_000;
const CTRL_B = '\x02';

// QEMU has no PXE ROM but iPXE, so a hand at its prompt stands for the ROM that would have been told of undionly.kpxe
// (service.test.ts shows that it is told so). What is loaded then is the package's binary, on top of the ROM's UNDI.
void test('network boot: undionly.kpxe, once loaded over TFTP, gets the script and a large initramfs', async (t) => {
  await networkBoots(t, 'bios', {
    steer: async ({ lab, machine }) => {
      await machine.waitForConsole(/Press Ctrl-B for the iPXE command line/, PROMPT_LIMIT_MS);
      await machine.type(CTRL_B);
      await machine.waitForConsole(/iPXE>/, PROMPT_LIMIT_MS);
      await machine.type('dhcp\r');
      await machine.waitForConsole(/Configuring \(net0[^\n]*ok/, PROMPT_LIMIT_MS);
      await machine.type(`chain tftp://${lab.address}/undionly.kpxe\r`);
    },
    after: async ({ serverLog }) => {
      assert.match(serverLog(), /sent \/usr\/lib\/ipxe\/undionly\.kpxe to 10\.77\.0\./);
    },
  });
});
