/** Follows a VM's serial console in the background. */
import type { ConsoleReader } from '../hypervisor/driver.ts';

export interface Follower extends AsyncDisposable {
  /** False once the console ended, for example with the hypervisor's daemon. */
  readonly following: boolean;
}

/** Reads until disposed or until the console ends. The text is a help for people: a console that breaks fails nobody's job, but is told. */
export function follow(
  reader: ConsoleReader,
  onBytes: (bytes: Buffer) => void,
  onBroken: (error: unknown) => void,
): Follower {
  let following = true;
  const ended = (async () => {
    try {
      for (let bytes = await reader.read(); bytes; bytes = await reader.read()) onBytes(bytes);
    } catch (error) {
      onBroken(error);
    } finally {
      following = false;
    }
  })();
  return {
    get following() {
      return following;
    },
    async [Symbol.asyncDispose]() {
      await reader.close();
      await ended;
    },
  };
}
