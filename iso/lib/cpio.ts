/** The archive format of an initramfs: cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. */
import type { Entry, Tree } from './tree.ts';

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

/** The tree as one newc archive: owned by root, all times zero, inodes in order, so that equal trees give equal bytes. */
export function writeCpio(tree: Tree): Buffer {
  const parts: Buffer[] = [];
  let inode = 0;
  for (const [path, entry] of tree.sorted()) {
    inode++;
    const data = entry.kind === 'file' ? entry.data : Buffer.from(entry.kind === 'link' ? entry.target : '');
    const device = entry.kind === 'char' ? entry : { major: 0, minor: 0 };
    parts.push(...member(path, inode, mode(entry), data, device));
  }
  parts.push(...member(TRAILER, 0, 0, Buffer.alloc(0), { major: 0, minor: 0 }));
  return Buffer.concat(parts);
}

function mode(entry: Entry): number {
  switch (entry.kind) {
    case 'dir':
      return S_IFDIR | 0o755;
    case 'link':
      return S_IFLNK | 0o777;
    case 'char':
      return S_IFCHR | 0o600;
    case 'file':
      return S_IFREG | (entry.executable ? 0o755 : 0o644);
  }
}

function member(
  path: string,
  inode: number,
  modeBits: number,
  data: Buffer,
  device: { major: number; minor: number },
): Buffer[] {
  const name = Buffer.from(`${path}\0`);
  const links = (modeBits & 0o170000) === S_IFDIR ? 2 : 1;
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, modeBits, 0, 0, links, 0, data.length, 0, 0, device.major, device.minor, name.length, 0];
  const header = Buffer.from(MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join(''));
  return [header, name, padding(header.length + name.length), data, padding(data.length)];
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
