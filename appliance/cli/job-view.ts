/** How a job looks in text. */
import type { JobProgress } from '../api/job.ts';
import type { JobView } from '../api/rest.ts';
import { formatBytes } from './output.ts';

const BAR_CHARACTERS = 24;
const MEGABYTE = 1_000_000;

/** Has the job ended? */
export function hasEnded(view: JobView): boolean {
  return ['done', 'failed', 'cancelled'].includes(view.job.state);
}

/** State and how far it is, in a few words. */
export function stateOf({ job, progress }: JobView): string {
  const asked = job.cancelRequested && job.state !== 'cancelled' ? ', cancel requested' : '';
  const percent = progress ? percentOf(progress) : undefined;
  return `${job.state}${percent === undefined ? '' : ` ${percent} %`}${asked}`;
}

/** One line of progress with a bar where the total is known. */
export function progressLine({ job, progress }: JobView): string {
  const phase = job.phases.at(-1);
  if (!progress) return `${job.state}  ${phase?.detail ?? ''}`.trimEnd();
  const percent = percentOf(progress);
  const parts: string[] = [job.state];
  if (percent !== undefined && progress.totalBytes !== null) {
    const filled = Math.round((percent / 100) * BAR_CHARACTERS);
    parts.push(`[${'#'.repeat(filled)}${'.'.repeat(BAR_CHARACTERS - filled)}] ${percent} %`);
    parts.push(`${formatBytes(progress.doneBytes)} of ${formatBytes(progress.totalBytes)}`);
  }
  if (progress.bytesPerSecond > 0) parts.push(`${(progress.bytesPerSecond / MEGABYTE).toFixed(1)} MB/s`);
  if (progress.note !== '') parts.push(progress.note);
  return parts.join('  ');
}

/** Everything about a job, line by line. */
export function describe({ job, progress }: JobView): string[] {
  const lines = [
    `job          ${job.id}`,
    `state        ${stateOf({ job, progress })}`,
    `target VM    ${job.order.name} on '${job.hypervisor}', pool '${job.pool}', network '${job.network}'`,
    `machine      ${job.machineId}`,
    `created      ${job.createdAt}`,
    `hardware     ${job.cpus} CPUs, ${formatBytes(job.memoryBytes)}, ${job.firmware}, ${job.acceleration ?? 'acceleration not chosen yet'}`,
    ...job.disks.map((disk) => `disk         ${disk.disk}, ${formatBytes(disk.sizeBytes)} -> ${disk.overlay}`),
    ...job.warnings.map((warning) => `warning      ${warning}`),
  ];
  if (job.usedBytes !== null) lines.push(`in use       ${formatBytes(job.usedBytes)}`);
  if (job.wireBytes !== null) lines.push(`on the wire  ${formatBytes(job.wireBytes)}`);
  for (const phase of job.phases)
    lines.push(`phase        ${phase.state}, ${secondsOf(phase)}  ${phase.detail}`.trimEnd());
  for (const step of job.steps) lines.push(`conversion   ${step.step}: ${step.outcome}. ${step.detail}`);
  if (job.proof)
    lines.push(`proof        ${job.proof.kind} after ${job.proof.seconds.toFixed(1)} s: ${job.proof.evidence}`);
  if (progress) lines.push(`progress     ${progressLine({ job, progress })}`);
  return lines;
}

function percentOf({ doneBytes, totalBytes }: JobProgress): number | undefined {
  if (totalBytes === null || totalBytes === 0) return undefined;
  return Math.min(100, Math.floor((doneBytes / totalBytes) * 100));
}

function secondsOf(phase: { startedAt: string; endedAt: string | null }): string {
  if (phase.endedAt === null) return 'running';
  return `${((Date.parse(phase.endedAt) - Date.parse(phase.startedAt)) / 1000).toFixed(1)} s`;
}
