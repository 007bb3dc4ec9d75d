/** What a job left on a hypervisor, as virsh sees it. */
import { run } from '../lab/command.ts';

/** VMs that carry the job's id or the target's name, and volumes that carry the job's id. */
export async function leftovers(libvirtUri: string, jobId: string, targetName: string): Promise<string[]> {
  const virsh = (...args: string[]) => run(['virsh', '--quiet', '--connect', libvirtUri, ...args]);
  const vms = (await virsh('list', '--all', '--name'))
    .split('\n')
    .filter((name) => name.includes(jobId) || name === targetName);
  await virsh('pool-refresh', 'default');
  const volumes = (await virsh('vol-list', 'default')).split('\n').filter((line) => line.includes(jobId));
  return [...vms, ...volumes].map((line) => line.trim());
}
