/** What this machine is, in the shape that the orchestrator keeps. */
import type { Inventory, SourceDisk } from '../../appliance/api/inventory.ts';
import { type BlkidFacts, probeAll } from './blkid.ts';
import { type BlockDisk, blockDisks } from './block-devices.ts';
import { sourceNics } from './nics.ts';
import { systemFacts } from './system.ts';

export interface InventoryOptions {
  /** `/`, or a recorded tree in tests. */
  root: string;
  /** Report these disks instead of all whole ones. */
  only?: readonly string[];
  /** A line for the log. */
  log(line: string): void;
}

/** Looks at the machine anew. What blkid fails on comes without its content's kind, and the log says so. */
export async function collectInventory(options: InventoryOptions): Promise<Inventory> {
  const disks = blockDisks(options.root, options.only);
  const paths = disks.flatMap((disk) => [disk, ...disk.partitions].map((device) => `/dev/${device.name}`));
  const facts = await probeAll(paths, (error) => options.log(`Contents stay unknown: ${error.message}`));
  return {
    ...systemFacts(options.root),
    disks: disks.map((disk) => sourceDisk(disk, facts)),
    nics: sourceNics(options.root),
  };
}

function sourceDisk(disk: BlockDisk, facts: ReadonlyMap<string, BlkidFacts>): SourceDisk {
  const table = facts.get(`/dev/${disk.name}`)?.get('PTTYPE');
  return {
    ...disk,
    table: table === 'gpt' || table === 'dos' ? table : null,
    partitions: disk.partitions.map((partition) => {
      const found = facts.get(`/dev/${partition.name}`);
      return {
        ...partition,
        fileSystem: found?.get('TYPE') ?? null,
        uuid: found?.get('UUID') ?? null,
        label: found?.get('LABEL') ?? null,
        partitionType: found?.get('PART_ENTRY_TYPE') ?? null,
      };
    }),
  };
}
