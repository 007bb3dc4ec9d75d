/** Who uses a block device, in words for a person. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** The first use of the disk or one of its partitions: mounted, swap, or held by another device (LVM, md, LUKS). Undefined where there is none. */
export function findUse(disk: string): string | undefined {
  for (const name of [disk, ...partitionsOf(disk)]) {
    const use = mountOf(name) ?? swapOf(name) ?? holderOf(disk, name);
    if (use !== undefined) return use;
  }
  return undefined;
}

function partitionsOf(disk: string): string[] {
  return readdirSync(`/sys/class/block/${disk}`).filter((name) => name.startsWith(disk));
}

function mountOf(name: string): string | undefined {
  const number = readFileSync(`/sys/class/block/${name}/dev`, 'utf8').trim();
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    // proc(5): id, parent, major:minor, root, mount point, options, fields up to a dash, type, source. btrfs has numbers of its own.
    const [, , device, , mountPoint, ...rest] = line.split(' ');
    const source = rest[rest.indexOf('-') + 2];
    if (device === number || source === `/dev/${name}`) return `${name} is mounted on ${mountPoint}`;
  }
  return undefined;
}

function swapOf(name: string): string | undefined {
  const used = readFileSync('/proc/swaps', 'utf8')
    .split('\n')
    .some((line) => line.split(/\s+/)[0] === `/dev/${name}`);
  return used ? `${name} is used as swap` : undefined;
}

function holderOf(disk: string, name: string): string | undefined {
  const folder = name === disk ? `/sys/block/${disk}/holders` : `/sys/block/${disk}/${name}/holders`;
  const [holder] = readdirSync(folder);
  return holder === undefined ? undefined : `${name} is part of ${basename(holder)}`;
}
