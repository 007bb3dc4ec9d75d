/** What people see of a copy while it runs. */
import type { RECEIVER_METHODS, ResultOf } from '../../api/control.ts';
import type { DiskProgress, JobProgress } from '../../api/job.ts';
import { Rate, secondsLeft } from './rate.ts';

export type CopyStatus = ResultOf<typeof RECEIVER_METHODS, 'copy.status'>;

export class CopyReport {
  readonly #disk = new Rate();
  readonly #wire = new Rate();

  of(status: CopyStatus): Omit<JobProgress, 'state'> {
    const { disks, wireBytes, retries, reconnects } = status;
    const known = disks.every((disk) => disk.usedBytes !== null);
    const doneBytes = sum(disks.map((disk) => disk.copiedBytes));
    const totalBytes = known ? sum(disks.map((disk) => disk.usedBytes ?? 0)) : null;
    // What an earlier attempt copied is there at once: it tells nothing of the speed.
    const bytesPerSecond = this.#disk.add(doneBytes - sum(disks.map((disk) => disk.resumedBytes)));
    const still = status.paused !== null;
    return {
      doneBytes,
      totalBytes,
      wireBytes,
      bytesPerSecond,
      wireBytesPerSecond: this.#wire.add(wireBytes),
      secondsLeft: totalBytes === null || still ? null : secondsLeft(totalBytes - doneBytes, bytesPerSecond),
      retries,
      reconnects,
      disks: disks.map(diskProgress),
      note: known ? '' : 'reading the allocation map',
    };
  }
}

function diskProgress({ badRanges, ...disk }: CopyStatus['disks'][number]): DiskProgress {
  return { ...disk, badBytes: sum(badRanges.map(({ length }) => length)) };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}
