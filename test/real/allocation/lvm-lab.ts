/**
 * LVM's own tools on loop devices, without the kernel's device mapper: they write and read the metadata; what a volume holds is
 * written and read here, by the places that `lvs` names.
 */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { attachLoop, type LoopDevice } from '../../contract/target/loop-device.ts';
import { MIB } from '../../lab/disk-images.ts';

/** vgcreate's default. */
export const EXTENT_BYTES = 4 * MIB;

/** A range of a volume on its physical volume, bytes. */
interface Piece {
  volume: number;
  disk: number;
  length: number;
}

/** Images of physical volumes in a folder of its own; `end` removes everything. Not for use by several tests at a time. */
export class LvmLab {
  readonly folder = mkdtempSync(join(tmpdir(), 'rehost-lvm-'));
  readonly #loops: LoopDevice[] = [];
  #serial = 0;

  constructor() {
    mkdirSync(join(this.folder, 'lock'));
    this.#configure();
  }

  /** LVM sees the devices of this lab and no others. */
  #configure(): void {
    const own = this.#loops.map(({ path }) => `"a|^${path}$|", `).join('');
    writeFileSync(
      join(this.folder, 'lvm.conf'),
      `devices { use_devicesfile=0 scan_lvs=0 global_filter=[ ${own}"r|.*|" ] }
global { use_lvmpolld=0 event_activation=0 activation=0 locking_dir="${this.folder}/lock" }
activation { monitoring=0 }
backup { backup=0 archive=0 }
`,
    );
  }

  image(bytes: number): string {
    const path = join(this.folder, `image-${this.#serial++}`);
    const fd = openSync(path, 'w');
    ftruncateSync(fd, bytes);
    closeSync(fd);
    return path;
  }

  /** The device stays attached until `detachAll`. */
  attach(image: string): string {
    const loop = attachLoop(image);
    this.#loops.push(loop);
    this.#configure();
    return loop.path;
  }

  detachAll(): void {
    for (const loop of this.#loops.splice(0)) loop.detach();
    this.#configure();
  }

  /** Runs one of LVM's tools and answers its output. */
  lvm(...argv: string[]): string {
    const [tool = '', ...args] = argv;
    return execFileSync(tool, args, {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', LVM_SYSTEM_DIR: this.folder, LVM_SUPPRESS_FD_WARNINGS: '1' },
    });
  }

  /** A physical volume with the group `vg` on it, its image attached. */
  group(bytes: number, ...options: string[]): { image: string; device: string } {
    const image = this.image(bytes);
    const device = this.attach(image);
    this.lvm('pvcreate', '-q', '-y', ...options, device);
    this.lvm('vgcreate', '-q', 'vg', device);
    return { image, device };
  }

  create(name: string, mib: number): void {
    this.lvm('lvcreate', '-q', '-an', '-Zn', '-Wn', '-L', `${mib}M`, '-n', name, 'vg');
  }

  /** Writes the group's metadata anew, changed as text. */
  rewrite(change: (text: string) => string): void {
    const file = join(this.folder, 'group.vg');
    this.lvm('vgcfgbackup', '-q', '-f', file, 'vg');
    const before = readFileSync(file, 'utf8');
    const after = change(before);
    if (after === before) throw new Error('the metadata was not changed');
    writeFileSync(file, after);
    this.lvm('vgcfgrestore', '-q', '-y', '--force', '-f', file, 'vg');
  }

  /** Where a linear volume lies on its physical volume, by lvs. */
  pieces(name: string): Piece[] {
    const text = this.lvm(
      'lvs',
      '--noheadings',
      '--units',
      'b',
      '--nosuffix',
      '-o',
      'seg_start_pe,seg_pe_ranges',
      `vg/${name}`,
    );
    return text
      .trim()
      .split('\n')
      .map((line) => {
        const found = /^\s*(\d+)\s+\S+:(\d+)-(\d+)\s*$/.exec(line);
        if (!found) throw new Error(`lvs says '${line}'`);
        const [volume = 0, first = 0, last = 0] = found.slice(1).map(Number);
        return {
          volume: volume * EXTENT_BYTES,
          disk: MIB + first * EXTENT_BYTES,
          length: (last - first + 1) * EXTENT_BYTES,
        };
      });
  }

  /** Extents of no volume, by pvs; bytes of the physical volume. */
  unallocated(device: string): [number, number][] {
    const peStart = Number(this.lvm('pvs', '--noheadings', '--units', 'b', '--nosuffix', '-o', 'pe_start', device));
    const text = this.lvm('pvs', '--noheadings', '--segments', '-o', 'pvseg_start,pvseg_size,segtype', device);
    return [...text.matchAll(/^\s*(\d+)\s+(\d+)\s+free\s*$/gm)].map(([, start, size]) => [
      peStart + Number(start) * EXTENT_BYTES,
      peStart + (Number(start) + Number(size)) * EXTENT_BYTES,
    ]);
  }

  end(): void {
    this.detachAll();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
