/** The one home of what a job's record holds before anything happened. */
import type { Job } from '../api/job.ts';

/** What is the same in every new record: nothing was done yet. A record of an earlier version lacks some of it and gets it from here. */
export type Blank = Omit<
  Job,
  | 'id'
  | 'order'
  | 'machineId'
  | 'hypervisor'
  | 'pool'
  | 'network'
  | 'isolatedNetwork'
  | 'state'
  | 'createdAt'
  | 'disks'
  | 'nics'
  | 'firmware'
  | 'cpus'
  | 'memoryBytes'
>;

/** A new one each time: the arrays are the record's own. */
export function blankJob(): Blank {
  return {
    cancelRequested: false,
    phases: [],
    acceleration: null,
    usedBytes: null,
    wireBytes: null,
    readBytes: null,
    manifests: [],
    badRanges: [],
    snapshot: null,
    attempts: 0,
    fruitless: 0,
    flushedBytes: 0,
    paused: null,
    pauseRequested: false,
    replicaVerified: false,
    kept: [],
    cleanUpFailed: false,
    releasePending: false,
    steps: [],
    guest: null,
    proof: null,
    error: null,
    lastCheck: null,
    warnings: [],
  };
}
