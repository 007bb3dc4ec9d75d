/** Follows a VM's serial console in the background. */
import type { HypervisorDriver } from '../hypervisor/driver.ts';

export interface Follower extends AsyncDisposable {
  /** Resolves when the console ended: with the error that ended it, or undefined. */
  readonly ended: Promise<unknown>;
}

/** Reads until disposed or until the console ends. The text is a help for people: a console that breaks fails nobody's job, but `ended` tells. */
export async function follow(
  driver: HypervisorDriver,
  vm: string,
  onBytes: (bytes: Buffer) => void,
): Promise<Follower> {
  const reader = await driver.console(vm);
  const ended = (async () => {
    try {
      for (let bytes = await reader.read(); bytes; bytes = await reader.read()) onBytes(bytes);
      return undefined;
    } catch (error) {
      return error;
    }
  })();
  return {
    ended,
    async [Symbol.asyncDispose]() {
      await reader.close();
      await ended;
    },
  };
}
