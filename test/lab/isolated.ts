/** A second network namespace with an address on a hypervisor's isolated network: from there the booted copy is looked at. */
import { onExit } from './cleanup.ts';
import { run } from './command.ts';
import { LAB_PREFIX, type Lab } from './namespace.ts';

/** On the source's own subnet, so that the copy answers at the address that it kept. */
const GUEST_SIDE_ADDRESS = '10.77.0.9';

export interface IsolatedView {
  readonly namespace: string;
  close(): Promise<void>;
}

/** Joins the libvirt network of this name, which must be active in the lab's namespace. */
export async function joinIsolatedNetwork(lab: Lab, libvirtUri: string, network: string): Promise<IsolatedView> {
  const info = await run(['virsh', '--connect', libvirtUri, 'net-info', network]);
  const bridge = /^Bridge:\s+(\S+)$/m.exec(info)?.[1];
  if (!bridge) throw new Error(`network '${network}' has no bridge: ${info}`);
  const namespace = lab.namespace.replace(/-lan$/, '-isolated');
  const close = onExit(`namespace ${namespace}`, () => run(['ip', 'netns', 'delete', namespace]).then(() => undefined));
  await run(['ip', 'netns', 'add', namespace]);
  await run([
    'ip',
    '-n',
    lab.namespace,
    'link',
    'add',
    'veth-iso',
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'netns',
    namespace,
  ]);
  await run(['ip', '-n', lab.namespace, 'link', 'set', 'veth-iso', 'master', bridge, 'up']);
  await run(['ip', '-n', namespace, 'link', 'set', 'lo', 'up']);
  await run(['ip', '-n', namespace, 'address', 'add', `${GUEST_SIDE_ADDRESS}/${LAB_PREFIX}`, 'dev', 'eth0']);
  await run(['ip', '-n', namespace, 'link', 'set', 'eth0', 'up']);
  return { namespace, close };
}
