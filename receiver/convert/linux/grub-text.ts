/** GRUB's files as text: only the kernel's command lines in them change. Pure. */
import {
  type CommandLineChange,
  type KnownVolumes,
  withSerialConsole,
  withStableDevices,
} from './kernel-command-line.ts';

/** grub.cfg: the arguments of `linux` (and linux16, linuxefi) behind the kernel's path. */
export function convertGrubCfg(text: string, known: KnownVolumes): CommandLineChange {
  return editLines(text, /^(\s*linux(?:16|efi)?\s+\S+)((?:\s.*)?)$/, (line) => convertLine(line, known));
}

/** A Boot Loader Specification entry: its `options` line. */
export function convertBlsEntry(text: string, known: KnownVolumes): CommandLineChange {
  return editLines(text, /^(\s*options)(\s.*)$/, (line) => convertLine(line, known));
}

/** /etc/kernel/cmdline: the whole file is one command line. */
export function convertCmdlineFile(text: string, known: KnownVolumes): CommandLineChange {
  return convertLine(text, known);
}

/**
 * /etc/default/grub, which the guest's next update-grub reads: the devices in all command lines; the console in
 * GRUB_CMDLINE_LINUX, which every menu entry gets; and roots by UUID again.
 */
export function convertDefaultGrub(text: string, known: KnownVolumes): CommandLineChange {
  const settings = convertSettings(text, known);
  if (NAMES_CONSOLE.test(settings.text)) return settings;
  const console = addConsole(settings.text);
  if (console) return { text: console.text, notes: [...settings.notes, ...console.notes] };
  const { text: words, notes } = withSerialConsole('');
  const begin = /(?:^|\n)$/.test(settings.text) ? settings.text : `${settings.text}\n`;
  return {
    text: `${begin}GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX ${words}"\n`,
    notes: [...settings.notes, ...notes],
  };
}

/**
 * A file of /etc/default/grub.d, which is read after /etc/default/grub: the same, but the console is only added where
 * the file sets GRUB_CMDLINE_LINUX anew, without what was in it.
 */
export function convertGrubSnippet(text: string, known: KnownVolumes): CommandLineChange {
  const settings = convertSettings(text, known);
  if (NAMES_CONSOLE.test(settings.text) || /\$\{?GRUB_CMDLINE_LINUX\b/.test(settings.text)) return settings;
  const console = addConsole(settings.text);
  return console ? { text: console.text, notes: [...settings.notes, ...console.notes] } : settings;
}

const NAMES_CONSOLE = /^\s*(?:export\s+)?GRUB_CMDLINE_LINUX\w*=.*\bconsole=ttyS0\b/m;

/** The devices in all command lines, and roots by UUID again. */
function convertSettings(text: string, known: KnownVolumes): CommandLineChange {
  const variable = /^(\s*(?:export\s+)?GRUB_CMDLINE_LINUX(?:_DEFAULT|_RECOVERY)?=)(.*)$/;
  const devices = editLines(text, variable, (value) => withStableDevices(value, known));
  const notes = [...devices.notes];
  const byUuid = devices.text.replaceAll(
    /^(\s*GRUB_DISABLE_(?:LINUX_UUID|UUID)=)(?:"true"|'true'|true)[ \t]*$/gm,
    '$1false',
  );
  if (byUuid !== devices.text) notes.push('GRUB names the root by UUID again');
  return { text: byUuid, notes };
}

/** In the first value of GRUB_CMDLINE_LINUX that is plain text; undefined when there is none. */
function addConsole(text: string): CommandLineChange | undefined {
  let done = false;
  const edited = editLines(text, /^(\s*(?:export\s+)?GRUB_CMDLINE_LINUX=)(.*)$/, (value) => {
    const quoted = /^(["'])(.*)\1(\s*(?:#.*)?)$/.exec(value);
    // An unquoted value is a single word, or something that a shell computes: that one is not touched.
    const plain = /^[\w=,./:-]*$/.test(value.trim()) ? value.trim() : undefined;
    const inner = quoted?.[2] ?? plain;
    if (done || inner === undefined) return { text: value, notes: [] };
    done = true;
    const change = withSerialConsole(inner);
    const quote = quoted?.[1] ?? '"';
    return { text: `${quote}${change.text}${quote}${quoted?.[3] ?? ''}`, notes: change.notes };
  });
  return done ? edited : undefined;
}

function convertLine(line: string, known: KnownVolumes): CommandLineChange {
  const devices = withStableDevices(line, known);
  const console = withSerialConsole(devices.text);
  return { text: console.text, notes: [...devices.notes, ...console.notes] };
}

/** Applies `edit` to the second group of every line that matches; each note once. */
function editLines(text: string, pattern: RegExp, edit: (value: string) => CommandLineChange): CommandLineChange {
  const notes = new Set<string>();
  const lines = text.split('\n').map((line) => {
    const match = pattern.exec(line);
    if (!match) return line;
    const change = edit(match[2] ?? '');
    for (const note of change.notes) notes.add(note);
    return `${match[1] ?? ''}${change.text}`;
  });
  return { text: lines.join('\n'), notes: [...notes] };
}
