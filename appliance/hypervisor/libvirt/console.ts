/** A VM's serial console. */
import { type DomainConsole, openConsole as openNative } from '../../../native/libvirt/console.ts';
import { RehostError } from '../../api/errors.ts';
import type { ConsoleReader } from '../driver.ts';
import { toRehostError } from './errors.ts';
import { checkName } from './names.ts';

/** Opens the console of a running or paused VM, taking it from whoever has it. The caller closes it. */
export async function openConsole(uri: string, vm: string): Promise<ConsoleReader> {
  checkName('VM', vm);
  let native: DomainConsole;
  try {
    native = await openNative(uri, vm);
  } catch (error) {
    throw toRehostError(`The console of the VM ${vm} could not be opened`, error);
  }
  return {
    async read() {
      try {
        return await native.read();
      } catch (error) {
        const { message } = toRehostError(`The console of the VM ${vm} broke`, error);
        throw new RehostError('HYPERVISOR_REFUSED', message, { cause: error });
      }
    },
    close: () => native.close(),
  };
}
