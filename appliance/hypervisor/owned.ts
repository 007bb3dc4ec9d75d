/** What a job left on a hypervisor: its VMs by their metadata, its volumes by the beginning of their names. */
import type { HypervisorDriver, OwnedVm } from './driver.ts';

export interface OwnedObjects {
  vms: OwnedVm[];
  volumes: { pool: string; name: string }[];
}

/** How the names of all volumes of a job begin. */
export function volumePrefix(jobId: string): string {
  return `rehost-${jobId}-`;
}

/** Everything of one job. Pools that are not active are left out: their volumes cannot be seen. */
export async function ownedByJob(driver: HypervisorDriver, jobId: string): Promise<OwnedObjects> {
  const vms = (await driver.ownedVms()).filter((vm) => vm.owner.jobId === jobId);
  const volumes: OwnedObjects['volumes'] = [];
  for (const pool of await driver.pools()) {
    if (!pool.active) continue;
    for (const name of await driver.listVolumes(pool.name)) {
      if (name.startsWith(volumePrefix(jobId))) volumes.push({ pool: pool.name, name });
    }
  }
  return { vms, volumes };
}
