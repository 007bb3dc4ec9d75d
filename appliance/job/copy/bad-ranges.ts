/** Ranges that the source could not read, for people. */
import type { Job } from '../../api/job.ts';

/** More of them are counted only: the record has them all. */
const NAMED = 8;

/** One sentence per disk that has any. */
export function badRangeWarnings(job: Pick<Job, 'badRanges'>): string[] {
  const disks = Map.groupBy(job.badRanges, ({ disk }) => disk);
  return [...disks].map(([disk, ranges]) => {
    const bytes = ranges.reduce((sum, { length }) => sum + length, 0);
    const named = ranges.slice(0, NAMED).map(({ offset, length }) => `${length} at ${offset}`);
    const more = ranges.length > NAMED ? `, and ${ranges.length - NAMED} more` : '';
    return `Disk '${disk}': ${bytes} bytes could not be read and are zeros in the copy: ${named.join(', ')}${more}.`;
  });
}

/** Replaces what an earlier attempt found. */
export function setBadRanges(job: Job, ranges: Job['badRanges']): void {
  const before = badRangeWarnings(job);
  job.badRanges = ranges;
  job.warnings = [...job.warnings.filter((warning) => !before.includes(warning)), ...badRangeWarnings(job)];
}
