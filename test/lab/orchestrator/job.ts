/** A job's record as the engine writes it. */
import type { Job } from '../../../appliance/api/job.ts';
import { blankJob } from '../../../appliance/job/blank.ts';

export function job(id: string, changes: Partial<Job> = {}): Job {
  return {
    ...blankJob(),
    id,
    order: { machine: 'm', name: 'copy-1' },
    machineId: '0123456789abcdef',
    hypervisor: 'local',
    pool: 'default',
    network: 'default',
    isolatedNetwork: 'rehost-isolated',
    state: 'done',
    createdAt: '2026-01-02T03:04:05.000Z',
    disks: [],
    nics: [],
    firmware: 'bios',
    cpus: 2,
    memoryBytes: 2 * 1024 ** 3,
    acceleration: 'tcg',
    ...changes,
  };
}
