/** Who a VM belongs to, as an element of Rehost's own namespace in the VM's metadata. */
import type { Owner } from '../driver.ts';
import { addOwn, type Element, parse } from './xml.ts';

/** Never changed: VMs that exist carry it. */
export const OWNER_URI = 'https://rehost.internal/xmlns/owner/1';
/** virDomainMetadataType of an element with a namespace. */
export const METADATA_ELEMENT = 2;

const ROLES: readonly Owner['role'][] = ['transfer', 'target', 'probe'];

export function addOwner(metadata: Element, owner: Owner): void {
  addOwn(metadata, OWNER_URI, 'rehost', 'owner', { job: owner.jobId, role: owner.role });
}

/** The owner that libvirt's answer to a metadata question names; undefined when it is not one of ours. */
export function readOwner(text: string): Owner | undefined {
  const element = parse(text);
  const jobId = element.getAttribute('job');
  const role = ROLES.find((one) => one === element.getAttribute('role'));
  return jobId === null || role === undefined ? undefined : { jobId, role };
}
