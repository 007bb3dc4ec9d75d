/** debconf's database of answers (debconf-devel(7)): stanzas of `Field: value` lines, with a blank line between. Pure. */

/** Questions of grub-pc's maintainer scripts that name disks of the machine. */
const DISK_QUESTIONS = new Set(['grub-pc/install_devices', 'grub-pc/install_devices_disks_changed']);

/**
 * Forgets on which disks grub-pc installs itself: its next update would write to a disk that is gone, and fail. Without
 * a value and its `seen` flag the question is asked anew.
 */
export function resetInstallDevices(database: string): string {
  return database
    .split('\n\n')
    .map((stanza) => {
      const name = /^Name: (.*)$/m.exec(stanza)?.[1];
      const value = /^Value: (.*)$/m.exec(stanza)?.[1];
      if (name === undefined || value === undefined || !DISK_QUESTIONS.has(name)) return stanza;
      return stanza
        .split('\n')
        .filter((line) => !/^(?:Value|Flags):/.test(line))
        .join('\n');
    })
    .join('\n\n');
}
