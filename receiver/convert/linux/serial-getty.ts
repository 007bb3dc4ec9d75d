/**
 * A login prompt on the first serial port. With systemd the kernel's console= is enough (systemd-getty-generator), so
 * this only acts where that does not reach: a guest with sysvinit, or one whose command line stands where no step can
 * change it.
 */
import { kindOf, makeFolder, makeSymlink, readText, replaceKeeping } from '../guest-files.ts';
import type { ConversionStep, Guest } from '../step.ts';
import { bootConfigs } from './grub-config.ts';

const INITTAB = '/etc/inittab';
const WANTS = '/etc/systemd/system/getty.target.wants';
const UNIT = 'serial-getty@ttyS0.service';
/** Debian's own example line for a serial terminal in inittab. */
const INITTAB_LINE = 'T0:23:respawn:/sbin/getty -L ttyS0 115200 vt100';

export const serialGetty: ConversionStep = {
  name: 'serial-getty',
  async applies(guest) {
    return !(await reachedByGenerator(guest));
  },
  async apply(guest) {
    if (await hasSystemd(guest)) return await enableUnit(guest);
    const text = await readText(guest.root, INITTAB);
    if (text === undefined) {
      return { changed: false, detail: 'The guest has neither systemd nor an inittab: no login prompt was added.' };
    }
    const changed = withSerialLogin(text);
    if (changed === text) return { changed: false, detail: 'inittab has a login prompt on the serial port.' };
    await replaceKeeping(guest.root, INITTAB, changed);
    return { changed: true, detail: 'A login prompt on the serial port was added to inittab.' };
  },
};

async function hasSystemd({ root }: Guest): Promise<boolean> {
  return (await kindOf(root, '/lib/systemd/systemd')) === 'file';
}

async function reachedByGenerator(guest: Guest): Promise<boolean> {
  if (!(await hasSystemd(guest))) return false;
  for (const [path] of await bootConfigs(guest.root)) {
    // /etc/default/grub and its grub.d start nothing: they are what grub.cfg is made from.
    if (path.startsWith('/etc/default/')) continue;
    if (/\bconsole=ttyS0\b/.test((await readText(guest.root, path)) ?? '')) return true;
  }
  return false;
}

async function enableUnit({ root }: Guest): Promise<{ changed: boolean; detail: string }> {
  const link = `${WANTS}/${UNIT}`;
  if ((await kindOf(root, link)) !== undefined) return { changed: false, detail: `${UNIT} is enabled.` };
  await makeFolder(root, WANTS);
  await makeSymlink(root, link, '/lib/systemd/system/serial-getty@.service');
  return { changed: true, detail: `${UNIT} was enabled.` };
}

/** Pure. */
export function withSerialLogin(inittab: string): string {
  if (/^[^#\n]*:respawn:.*\bttyS0\b/m.test(inittab)) return inittab;
  return `${inittab}${inittab === '' || inittab.endsWith('\n') ? '' : '\n'}${INITTAB_LINE}\n`;
}
