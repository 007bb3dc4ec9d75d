/**
 * The kernel's command lines, where a boot loader reads them and where the guest's next update makes them anew. grub.cfg
 * is edited as text: grub-mkconfig looks at the machine it runs on, so one with BIOS firmware would write BIOS commands
 * into the configuration of a UEFI guest. The small grub.cfg on the ESP only finds this one and is left alone.
 */
import { basename, dirname } from 'node:path';
import { KEPT_SUFFIX, keepOriginal, kindOf, readText, removeFile, replaceKeeping } from '../guest-files.ts';
import type { ConversionStep } from '../step.ts';
import { resetInstallDevices } from './debconf.ts';
import {
  convertBlsEntry,
  convertCmdlineFile,
  convertDefaultGrub,
  convertGrubCfg,
  convertGrubSnippet,
} from './grub-text.ts';
import type { CommandLineChange, KnownVolumes } from './kernel-command-line.ts';
import { filesIn } from './network-names.ts';

const DEVICE_MAP = '/boot/grub/device.map';
const DEBCONF = '/var/cache/debconf/config.dat';

type Convert = (text: string, known: KnownVolumes) => CommandLineChange;

/** Boot configurations of the guest: path and how its text is converted. */
export async function bootConfigs(root: string): Promise<[string, Convert][]> {
  const fixed: [string, Convert][] = [
    ['/boot/grub/grub.cfg', convertGrubCfg],
    ['/etc/default/grub', convertDefaultGrub],
    ['/etc/kernel/cmdline', convertCmdlineFile],
  ];
  const found: [string, Convert][] = [];
  for (const [path, convert] of fixed) if ((await kindOf(root, path)) === 'file') found.push([path, convert]);
  // grub-mkconfig reads no other names there.
  for (const path of await filesIn(root, '/etc/default/grub.d', '.cfg')) found.push([path, convertGrubSnippet]);
  for (const folder of ['/boot/loader/entries', '/boot/efi/loader/entries', '/efi/loader/entries']) {
    for (const path of await filesIn(root, folder, '.conf')) found.push([path, convertBlsEntry]);
  }
  return found;
}

export const grubConfig: ConversionStep = {
  name: 'grub-config',
  async applies(guest) {
    return (await bootConfigs(guest.root)).length > 0;
  },
  async apply(guest) {
    const { root } = guest;
    const notes = new Set<string>();
    let changed = false;
    for (const [path, convert] of await bootConfigs(root)) {
      const text = (await readText(root, path)) ?? '';
      const result = convert(text, guest);
      for (const note of result.notes) notes.add(note);
      if (result.text === text) continue;
      await replaceKeeping(root, path, result.text, keptPath(path));
      changed = true;
    }
    if (await dropDeviceMap(root)) {
      notes.add('device.map is gone, GRUB makes its own');
      changed = true;
    }
    const debconf = (await readText(root, DEBCONF)) ?? '';
    const reset = resetInstallDevices(debconf);
    if (reset !== debconf) {
      await replaceKeeping(root, DEBCONF, reset);
      notes.add("the next update of grub-pc asks for its disk, because the source's is gone");
      changed = true;
    }
    const detail =
      notes.size > 0 ? `Boot loader: ${[...notes].join('; ')}.` : 'The command lines already hold on any hardware.';
    return { changed, detail };
  },
};

/** Beside the file, but never in a folder of which every file is read. */
function keptPath(path: string): string {
  const folder = dirname(path);
  return basename(folder) === 'entries' ? `${folder}${KEPT_SUFFIX}/${basename(path)}` : `${path}${KEPT_SUFFIX}`;
}

/** The map of GRUB's disk names to names by serial number: grub-install looks for itself where there is none. */
async function dropDeviceMap(root: string): Promise<boolean> {
  if ((await kindOf(root, DEVICE_MAP)) !== 'file') return false;
  await keepOriginal(root, DEVICE_MAP, `${DEVICE_MAP}${KEPT_SUFFIX}`);
  await removeFile(root, DEVICE_MAP);
  return true;
}
