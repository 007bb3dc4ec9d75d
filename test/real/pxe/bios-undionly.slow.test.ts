import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SourceMachine } from '../../lab/source-machine.ts';
import { networkBoots } from './network-boot.ts';

const PROMPT_LIMIT_MS = 300_000;
const ECHO_LIMIT_MS = 60_000;
const CTRL_B = '\x02';

// QEMU has no PXE ROM but iPXE, so a hand at its prompt stands for the ROM that would have been told of undionly.kpxe
// (service.test.ts shows that it is told so). What is loaded then is the package's binary, on top of the ROM's UNDI.
void test('network boot: undionly.kpxe, once loaded over TFTP, gets the script and a large initramfs', async (t) => {
  await networkBoots(t, 'bios', {
    steer: async ({ lab, machine }) => {
      await machine.waitForConsole(/Press Ctrl-B for the iPXE command line/, PROMPT_LIMIT_MS);
      await machine.type(CTRL_B);
      await machine.waitForConsole(/iPXE>/, PROMPT_LIMIT_MS);
      await enter(machine, 'dhcp');
      await machine.waitForConsole(/Configuring \(net0[^\n]*ok/, PROMPT_LIMIT_MS);
      await enter(machine, `chain tftp://${lab.address}/undionly.kpxe`);
    },
    after: async ({ serverLog }) => {
      assert.match(serverLog(), /sent \/usr\/lib\/ipxe\/undionly\.kpxe to 10\.77\.0\./);
    },
  });
});

/** Types a line key by key, each when the one before has been echoed: the BIOS's keyboard buffer drops what comes faster. */
async function enter(machine: SourceMachine, line: string): Promise<void> {
  for (const key of line) {
    const before = machine.consoleText().length;
    await machine.type(key);
    for (const end = Date.now() + ECHO_LIMIT_MS; machine.consoleText().length === before; ) {
      assert.ok(Date.now() < end, `the key '${key}' was not echoed: ${machine.consoleText().slice(-500)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  await machine.type('\r');
}
