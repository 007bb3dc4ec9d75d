import type { JobContext } from '../context.ts';
import { removeCheck } from '../recheck.ts';

/** Removes what the check made. Entered again: what is gone is gone. */
export async function recheckEnd(context: JobContext): Promise<void> {
  await removeCheck(context);
  context.detail('nothing of the check is left on the hypervisor');
}
