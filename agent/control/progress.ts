/** Shows on the machine's screen how far its exports are. */
import type { Screen } from '../screen.ts';
import type { SourceJobs } from './source-jobs.ts';

const INTERVAL_MS = 2_000;
const GIB = 1024 ** 3;

/** Looks at the jobs until `signal` aborts; writes only when something moved. */
export function followProgress(jobs: SourceJobs, screen: Screen, signal: AbortSignal): void {
  let shown = '';
  let shownError = '';
  const look = async (): Promise<void> => {
    for (const jobId of jobs.active) {
      const status = await jobs.status(jobId);
      if (!status.running) continue;
      const parts = status.exports.map(
        ({ disk, readBytes, sizeBytes }) =>
          `${disk} ${gib(readBytes)} GiB (of ${gib(sizeBytes)}, what is in use is read)`,
      );
      const text = `read so far: ${parts.join(', ')}`;
      if (text !== shown) screen.progress(text);
      shown = text;
      if (status.error && status.error.message !== shownError)
        screen.error({ ...status.error, code: 'TRANSFER_FAILED' });
      shownError = status.error?.message ?? '';
    }
  };
  const timer = setInterval(() => {
    look().catch((error: Error) => screen.line(`Progress cannot be shown: ${error.message}`));
  }, INTERVAL_MS);
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
}

function gib(bytes: number): string {
  return (bytes / GIB).toFixed(2);
}
