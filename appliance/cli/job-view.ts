/** How a job looks in text. */
import type { DiskProgress, Job, JobProgress } from '../api/job.ts';
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
  const still = job.paused ? `, ${job.paused.code}` : job.pauseRequested ? ', pause requested' : '';
  const percent = progress ? percentOf(progress) : undefined;
  return `${job.state}${percent === undefined ? '' : ` ${percent} %`}${still}${asked}`;
}

/** How a job may read and send. */
export function limitsLine({ order }: Job): string {
  const rate =
    order.bytesPerSecond === undefined ? 'no limit' : `at most ${formatBytes(order.bytesPerSecond)} per second`;
  return `${rate}, priority ${order.readPriority ?? 'normal'}, back-off ${order.backOff === true ? 'on' : 'off'}`;
}

/** What the last check of the replica found. */
export function checkLine({ lastCheck }: Job): string {
  if (!lastCheck) return 'The replica was not checked since the job ended.';
  const verdict = lastCheck.ok === null ? 'could not be checked' : lastCheck.ok ? 'is as it was verified' : 'DIFFERS';
  return `At ${lastCheck.at} the replica ${verdict}: ${lastCheck.message}`;
}

/** One line of progress with a bar where the total is known. */
export function progressLine({ job, progress }: JobView): string {
  const phase = job.phases.at(-1);
  if (job.paused) return `${stateOf({ job, progress })} since ${job.paused.since}: ${job.paused.message}`;
  if (!progress) return `${job.state}  ${phase?.detail ?? ''}`.trimEnd();
  const percent = percentOf(progress);
  const parts: string[] = [job.state];
  if (percent !== undefined && progress.totalBytes !== null) {
    const filled = Math.round((percent / 100) * BAR_CHARACTERS);
    parts.push(`[${'#'.repeat(filled)}${'.'.repeat(BAR_CHARACTERS - filled)}] ${percent} %`);
    parts.push(`${formatBytes(progress.doneBytes)} of ${formatBytes(progress.totalBytes)}`);
  }
  if (progress.bytesPerSecond > 0) parts.push(`${megabytes(progress.bytesPerSecond)} MB/s`);
  if (progress.wireBytesPerSecond > 0) parts.push(`wire ${megabytes(progress.wireBytesPerSecond)} MB/s`);
  if (progress.secondsLeft !== null) parts.push(`${duration(progress.secondsLeft)} left`);
  if (progress.retries > 0) parts.push(`${progress.retries} retries`);
  if (progress.reconnects > 0) parts.push(`${progress.reconnects} reconnects`);
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
  lines.push(`limits       ${limitsLine(job)}`);
  if (job.attempts > 1) lines.push(`attempts     ${job.attempts}`);
  if (job.paused) lines.push(`stands still ${job.paused.code} since ${job.paused.since}: ${job.paused.message}`);
  if (job.replicaVerified)
    lines.push('verified     yes: the copy is complete and proven; the source may be switched off');
  if (job.usedBytes !== null) lines.push(`in use       ${formatBytes(job.usedBytes)}`);
  if (job.wireBytes !== null) lines.push(`on the wire  ${formatBytes(job.wireBytes)}`);
  for (const phase of job.phases)
    lines.push(`phase        ${phase.state}, ${secondsOf(phase)}  ${phase.detail}`.trimEnd());
  for (const step of job.steps) lines.push(`conversion   ${step.step}: ${step.outcome}. ${step.detail}`);
  if (job.proof)
    lines.push(`proof        ${job.proof.kind} after ${job.proof.seconds.toFixed(1)} s: ${job.proof.evidence}`);
  if (job.lastCheck) lines.push(`check        ${checkLine(job)}`);
  if (progress) {
    lines.push(`progress     ${progressLine({ job, progress })}`);
    for (const disk of progress.disks) lines.push(`             ${diskLine(disk)}`);
  }
  return lines;
}

function diskLine(disk: DiskProgress): string {
  const used = disk.usedBytes === null ? 'in use not known yet' : `${formatBytes(disk.usedBytes)} in use`;
  const parts = [used, `${formatBytes(disk.copiedBytes)} copied`, `${formatBytes(disk.flushedBytes)} flushed`];
  if (disk.zeroBytes > 0) parts.push(`${formatBytes(disk.zeroBytes)} zeros`);
  if (disk.resumedBytes > 0) parts.push(`${formatBytes(disk.resumedBytes)} from earlier attempts`);
  if (disk.badBytes > 0) parts.push(`${disk.badBytes} bytes could not be read`);
  return `${disk.disk}: ${parts.join(', ')}`;
}

function megabytes(bytes: number): string {
  return (bytes / MEGABYTE).toFixed(1);
}

/** Hours, minutes and seconds, as many as say something. */
function duration(seconds: number): string {
  const whole = Math.ceil(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

function percentOf({ doneBytes, totalBytes }: JobProgress): number | undefined {
  if (totalBytes === null || totalBytes === 0) return undefined;
  return Math.min(100, Math.floor((doneBytes / totalBytes) * 100));
}

function secondsOf(phase: { startedAt: string; endedAt: string | null }): string {
  if (phase.endedAt === null) return 'running';
  return `${((Date.parse(phase.endedAt) - Date.parse(phase.startedAt)) / 1000).toFixed(1)} s`;
}
