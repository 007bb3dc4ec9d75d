/**
 * What the machine is, apart from disks and NICs. Read from /sys and /proc: systeminformation starts dmidecode and lscpu
 * for the same facts, and under emulation each child process costs 0.2 to 0.5 s.
 */
import { cpus, totalmem } from 'node:os';
import { installedMemoryBytes } from './smbios.ts';
import { readBytes, readText } from './sysfs.ts';

/** The EFI variable `SecureBoot` of the global vendor GUID: four bytes of attributes, then 1 when it is on (UEFI, 3.3). */
const SECURE_BOOT = 'SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c';
const EFI_ATTRIBUTE_BYTES = 4;

export interface SystemFacts {
  vendor: string;
  product: string;
  serial: string;
  uuid: string;
  firmware: 'bios' | 'uefi';
  secureBoot: boolean;
  cpu: { model: string; cores: number };
  memoryBytes: number;
}

/** Never fails: what the firmware does not say is empty. `root` is `/`, or a recorded tree in tests. */
export function systemFacts(root: string): SystemFacts {
  const dmi = `${root}/sys/class/dmi/id`;
  const processors = cpus();
  const efi = readText(root, 'sys/firmware/efi/fw_platform_size') !== undefined;
  return {
    vendor: readText(dmi, 'sys_vendor') ?? '',
    product: readText(dmi, 'product_name') ?? '',
    serial: readText(dmi, 'product_serial') ?? '',
    uuid: (readText(dmi, 'product_uuid') ?? '').toLowerCase(),
    firmware: efi ? 'uefi' : 'bios',
    secureBoot: readBytes(root, 'sys/firmware/efi/efivars', SECURE_BOOT)?.[EFI_ATTRIBUTE_BYTES] === 1,
    cpu: { model: processors[0]?.model.trim() ?? '', cores: Math.max(1, processors.length) },
    memoryBytes: memoryBytes(root),
  };
}

/** The modules' sum: the kernel's MemTotal lacks what it keeps for itself, and the copy would get a little less at each clone. */
function memoryBytes(root: string): number {
  const table = readBytes(root, 'sys/firmware/dmi/tables/DMI');
  const installed = table ? installedMemoryBytes(table) : 0;
  const visible = totalmem();
  // A firmware that does not list its modules, or fewer than the kernel sees, is wrong.
  return Math.max(installed, visible);
}
