/** A copy that was made earlier, by its journal alone: to verify it again, and to hand the journal on as the manifest. */
import { openTarget } from '../target/open.ts';
import type { CopiedDisk, CopyTargetDisk } from './copy.ts';
import { Journal, type JournalOrder, readJournal } from './journal.ts';
import { planFromList } from './plan.ts';

function orderOf(jobId: string, disks: readonly CopyTargetDisk[]): JournalOrder {
  // Of which snapshot does not matter any more: a copy that is done is only read.
  return {
    jobId,
    snapshot: '',
    disks: disks.map(({ disk, sizeBytes, identity }) => ({ disk, sizeBytes, identity: identity ?? '' })),
  };
}

/** What the journal on the volume at `path` says of these disks. SOURCE_CHANGED, REQUEST_INVALID as Journal.open. */
export function recordedDisks(path: string, jobId: string, disks: readonly CopyTargetDisk[]): CopiedDisk[] {
  const order = orderOf(jobId, disks);
  return disks.map(({ disk, target, sizeBytes }, index) => {
    const journal = Journal.existing(openTarget({ kind: 'device', path, readOnly: true }), order, index);
    const opened = openTarget(target);
    try {
      return { disk, target, plan: planFromList(sizeBytes, journal.list(), opened.sizeBytes) };
    } finally {
      opened.close();
      journal.close();
    }
  });
}

/** Part of the journal on the volume at `path`, from a byte offset on; empty behind its last section. */
export function journalPart(path: string, jobId: string, disks: readonly CopyTargetDisk[], offset: number): Buffer {
  const target = openTarget({ kind: 'device', path, readOnly: true });
  try {
    return readJournal(target, orderOf(jobId, disks), offset);
  } finally {
    target.close();
  }
}
