/** Ends the agent's boot. The agent's image keeps nothing on disks, so the kernel is asked directly, without stopping services. */
import { execFile } from 'node:child_process';

export type PowerAction = 'reboot' | 'off';

/** The answer to the request leaves first, ms. */
const DELAY_MS = 500;
const DEADLINE_MS = 30_000;

/** Reboots or switches off shortly after the call. `failed` is told when the machine does not do it. */
export function power(action: PowerAction, failed: (error: Error) => void): void {
  // -f: reboot(2) at once. Without it busybox only signals PID 1, and the image's init is a script.
  const applet = action === 'off' ? 'poweroff' : 'reboot';
  setTimeout(() => {
    execFile('busybox', [applet, '-f'], { timeout: DEADLINE_MS }, (error) => {
      if (error) failed(error);
    });
  }, DELAY_MS);
}
