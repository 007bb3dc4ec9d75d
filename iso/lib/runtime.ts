/** What every image has: the shell, Node, koffi with its binary, and the libraries that our programs open by name. */
import { lstatSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { loadablePart } from './elf.ts';
import { addLibrariesOf, addLibrary, addProgram } from './package-root.ts';
import type { BaseName } from './recipe.ts';
import type { Tree } from './tree.ts';

/** Opened at run time through koffi, so that no ELF header names them. */
const OPENED_LIBRARIES = ['libxxhash.so.0'];
/** Found on every image. util-linux's own mount: BusyBox's knows fewer options. */
const PROGRAMS = ['blkid', 'lsblk', 'blockdev', 'mount', 'umount'];
/** BusyBox programs under their own names; scripts and Node start them so. */
const APPLETS = (
  'ash awk basename blkdiscard bunzip2 bzip2 cat chgrp chmod chown chroot cmp cp cut date dd depmod df dirname dmesg du ' +
  'echo egrep env expr false fgrep find free grep gunzip gzip head hexdump hostname id ifconfig insmod ip kill less ln ls ' +
  'lsmod lzma md5sum mkdir mkfifo mknod mktemp modinfo modprobe more mv nc nslookup od ping poweroff printf ps pwd readlink ' +
  'realpath reboot rm rmdir rmmod route sed seq setsid sh sha256sum sleep sort stat stty sync sysctl tail tar tee test ' +
  'timeout top touch tr true udhcpc uevent uname uniq unlzma unxz uptime vi wc wget which xargs xzcat zcat'
).split(' ');
/** The kernel starts modprobe by this path: /proc/sys/kernel/modprobe. */
const KERNEL_MODPROBE = 'sbin/modprobe';
const KOFFI_FILES = ['package.json', 'index.js', 'src/koffi/index.js', 'src/koffi/src/static.js'];

/** Bytes that the runtime takes from the repository's own packages rather than from the base: part of every image's key. */
export function runtimeInputs(repository: string): Buffer[] {
  return koffiFiles('debian')
    .concat(koffiFiles('alpine'))
    .concat('node/bin/node')
    .map((path) => readFileSync(join(repository, 'node_modules', path)));
}

/** Adds the runtime. On Debian, Node is the pinned one of the repository's packages; on Alpine it must be built for musl and is Alpine's own. */
export function addRuntime(root: string, tree: Tree, base: BaseName, repository: string): void {
  addTopLinks(root, tree);
  const busybox = addProgram(root, tree, 'busybox');
  const folder = busybox.slice(1, busybox.lastIndexOf('/'));
  for (const applet of APPLETS) tree.add(`${folder}/${applet}`, { kind: 'link', target: busybox });
  // `bin` and `sbin` are links into `usr` on Debian and folders on Alpine.
  for (const path of ['bin/sh', KERNEL_MODPROBE]) {
    const top = tree.get(path.slice(0, path.indexOf('/')));
    const real = top?.kind === 'link' ? path.replace(/^[^/]+/, top.target) : path;
    tree.add(real, { kind: 'link', target: busybox });
  }
  for (const name of PROGRAMS) addProgram(root, tree, name);
  if (base === 'debian') {
    const node = loadablePart(readFileSync(join(repository, 'node_modules/node/bin/node')));
    tree.add('usr/bin/node', { kind: 'file', data: node, executable: true });
    addLibrariesOf(root, tree, 'usr/bin/node', node);
  } else {
    addProgram(root, tree, 'node');
  }
  for (const soname of OPENED_LIBRARIES) addLibrary(root, tree, soname);
  for (const path of koffiFiles(base)) {
    const data = readFileSync(join(repository, 'node_modules', path));
    const content = path.endsWith('.node') ? loadablePart(data) : data;
    const target = `usr/lib/rehost/node_modules/${path}`;
    tree.add(target, { kind: 'file', data: content, executable: false });
    addLibrariesOf(root, tree, target, content);
  }
  // The kernel opens these before the init script mounts /dev.
  tree.add('dev/console', { kind: 'char', major: 5, minor: 1 });
  tree.add('dev/null', { kind: 'char', major: 1, minor: 3 });
  for (const path of ['proc', 'sys', 'run', 'tmp', 'mnt', 'root', 'etc', 'var']) tree.add(path, { kind: 'dir' });
}

function addTopLinks(root: string, tree: Tree): void {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    const path = join(root, name);
    if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink()) {
      tree.add(name, { kind: 'link', target: readlinkSync(path) });
    }
  }
}

function koffiFiles(base: BaseName): string[] {
  const flavour = base === 'debian' ? 'linux_x64' : 'musl_x64';
  const binary = '@koromix/koffi-linux-x64';
  return [
    ...KOFFI_FILES.map((file) => `koffi/${file}`),
    `${binary}/package.json`,
    `${binary}/index.js`,
    `${binary}/${flavour}/koffi.node`,
  ];
}
