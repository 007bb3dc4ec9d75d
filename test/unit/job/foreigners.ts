/** Other people's objects on the hypervisor: whatever a job does, they stay as they are. */
import assert from 'node:assert/strict';
import type { MemoryHypervisor } from '../../lab/orchestrator/memory-hypervisor.ts';

const OLDER = 'older001';

export async function makeForeigners(hypervisor: MemoryHypervisor): Promise<void> {
  const spec = { memoryBytes: 1, cpus: 1, acceleration: 'tcg', firmware: 'bios', video: false } as const;
  for (const [name, volume, jobId] of [
    ['foreign', 'foreign.raw', undefined],
    ['older', `rehost-${OLDER}-sda.raw`, OLDER],
  ] as const) {
    const disk = { pool: 'default', name: volume, format: 'raw' } as const;
    await hypervisor.createVolume(disk, 4096);
    const owner = { jobId: jobId ?? '', role: 'target' } as const;
    await hypervisor.defineVm({
      ...spec,
      name,
      owner,
      nics: [],
      disks: [{ volume: disk, serial: 'd', bus: 'scsi' }],
    });
    await hypervisor.startVm(name);
    const vm = hypervisor.vms.get(name);
    if (vm && jobId === undefined) vm.owner = undefined;
  }
}

export function checkForeigners(hypervisor: MemoryHypervisor): void {
  assert.equal(hypervisor.vms.get('foreign')?.state, 'running');
  assert.equal(hypervisor.vms.get('older')?.state, 'running');
  for (const name of ['foreign.raw', `rehost-${OLDER}-sda.raw`]) assert.ok(hypervisor.volumes.has(name), name);
}
