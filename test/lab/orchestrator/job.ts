/** A job's record as the engine writes it. */
import type { Job } from '../../../appliance/api/job.ts';

export function job(id: string, changes: Partial<Job> = {}): Job {
  return {
    id,
    order: { machine: 'm', name: 'copy-1' },
    machineId: '0123456789abcdef',
    hypervisor: 'local',
    pool: 'default',
    network: 'default',
    isolatedNetwork: 'rehost-isolated',
    state: 'done',
    createdAt: '2026-01-02T03:04:05.000Z',
    cancelRequested: false,
    phases: [],
    disks: [],
    nics: [],
    firmware: 'bios',
    cpus: 2,
    memoryBytes: 2 * 1024 ** 3,
    acceleration: 'tcg',
    usedBytes: null,
    wireBytes: null,
    readBytes: null,
    manifests: [],
    replicaVerified: false,
    kept: [],
    cleanUpFailed: false,
    releasePending: false,
    steps: [],
    guest: null,
    proof: null,
    error: null,
    warnings: [],
    ...changes,
  };
}
