/** fstab(5) as lines: what is not an entry, and every blank in one, stays as it is. */

export interface FstabEntry {
  /** First field: the device. */
  spec: string;
  /** Second field, \040 and the like decoded. */
  mountPoint: string;
  fileSystem: string;
  options: string[];
  /** Index of its line. */
  line: number;
}

/** Indent, device, gap, mount point, gap, type, then maybe gap and options, then the rest of the line. */
const FIELDS = /^(\s*)(\S+)(\s+)(\S+)(\s+)(\S+)(?:(\s+)(\S+))?(.*)$/s;

/** The entries of an fstab; comments and incomplete lines are left out. */
export function parseFstab(text: string): FstabEntry[] {
  const entries: FstabEntry[] = [];
  for (const [line, content] of text.split('\n').entries()) {
    if (/^\s*(?:#|$)/.test(content)) continue;
    const match = FIELDS.exec(content);
    const [, , spec, , mountPoint, , fileSystem, , options] = match ?? [];
    if (spec === undefined || mountPoint === undefined || fileSystem === undefined) continue;
    entries.push({
      spec,
      mountPoint: decode(mountPoint),
      fileSystem,
      options: (options ?? 'defaults').split(','),
      line,
    });
  }
  return entries;
}

/** The text with some entries' devices and options replaced; everything else byte for byte. */
export function editFstab(text: string, edits: ReadonlyMap<number, { spec?: string; options?: string[] }>): string {
  return text
    .split('\n')
    .map((content, line) => {
      const edit = edits.get(line);
      const match = FIELDS.exec(content);
      if (!edit || !match) return content;
      const [
        ,
        indent = '',
        spec = '',
        gap1 = '',
        point = '',
        gap2 = '',
        type = '',
        gap3 = '',
        options = '',
        rest = '',
      ] = match;
      const newOptions = edit.options?.join(',') ?? options;
      const newGap = newOptions !== '' && gap3 === '' ? ' ' : gap3;
      return `${indent}${edit.spec ?? spec}${gap1}${point}${gap2}${type}${newGap}${newOptions}${rest}`;
    })
    .join('\n');
}

function decode(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
