/** The kernel's command line as words (admin-guide/kernel-parameters): devices by UUID, a serial console. Pure. */
import { DeviceNames, isUnstableName, stableName } from '../device-names.ts';
import type { Guest } from '../step.ts';

/** What a command line's names are resolved with. */
export type KnownVolumes = Pick<Guest, 'volumes' | 'rootVolume'>;

/** The target VM's first serial port: what proves the boot, and what `virsh console` shows. */
export const SERIAL_CONSOLE = 'console=ttyS0,115200';
export const SCREEN_CONSOLE = 'console=tty0';

export interface CommandLineChange {
  text: string;
  /** What was done, for the report. */
  notes: string[];
}

/**
 * root= and resume= by UUID; blanks, quotes and everything else stay. root= of this guest can only mean its root volume,
 * from which the names of its disk's other volumes follow. A name that cannot be resolved stays and is noted.
 */
export function withStableDevices(text: string, { volumes, rootVolume }: KnownVolumes): CommandLineChange {
  const spec = /(?:^|[\s"'])root=(\/dev\/[^\s"']+)/.exec(text)?.[1];
  const names = new DeviceNames(volumes, { volume: rootVolume, spec });
  const notes: string[] = [];
  const changed = text.replaceAll(
    /(^|[\s"'])(root|resume)=(\/dev\/[^\s"']+)/g,
    (whole, before: string, key: string, spec: string) => {
      if (!isUnstableName(spec)) return whole;
      const volume = names.resolve(spec);
      const name = volume && stableName(volume, volumes);
      if (name === undefined || (key === 'root' && volume !== rootVolume)) {
        notes.push(`${key}=${spec} was left: it is not certain which volume is meant`);
        return whole;
      }
      notes.push(`${key}=${spec} is now ${key}=${name}`);
      return `${before}${key}=${name}`;
    },
  );
  return { text: changed, notes };
}

/**
 * The words to put before the first console= (or at the end): the last console is /dev/console, where the guest's own
 * messages go, so the one that was last stays last; without any that is the screen. systemd starts a login on every
 * console of the kernel, whatever their order (systemd-getty-generator(8)).
 */
export function withSerialConsole(text: string): CommandLineChange {
  const consoles = [...text.matchAll(/(?<=^|[\s"'])console=[^\s"']+/g)];
  if (consoles.some(([word]) => /^console=ttyS0(?:,|$)/.test(word))) return { text, notes: [] };
  const notes = ['a serial console was added'];
  const first = consoles[0];
  if (first) return { text: `${text.slice(0, first.index)}${SERIAL_CONSOLE} ${text.slice(first.index)}`, notes };
  const trimmed = text.trimEnd();
  const gap = trimmed === '' ? '' : ' ';
  return { text: `${trimmed}${gap}${SERIAL_CONSOLE} ${SCREEN_CONSOLE}${text.slice(trimmed.length)}`, notes };
}
