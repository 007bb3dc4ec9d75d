/**
 * What an LVM2 volume group's metadata says about the one physical volume that it consists of (lvm2: lib/format_text/flags.c,
 * import_vsn1.c, lib/striped/striped.c). A volume is presented only when it is striped or linear and nothing else builds on
 * it: below a snapshot, a thin pool, a cache or a RAID a block that its file system calls free can still be needed. Extents
 * of everything else are in use. What is not known here makes the whole group Inconsistent.
 */
import type { LvmLabel } from './lvm-label.ts';
import { type LvmScalar, type LvmSection, type LvmValue, parseLvmText } from './lvm-text.ts';
import type { Stripe, VolumeSegment } from './lvm-volume.ts';
import { RangeBuilder, subtract } from './ranges.ts';
import { Inconsistent } from './source.ts';

const SECTOR = 512;
const GROUP_STATUS = new Set<LvmScalar>(['RESIZEABLE', 'READ', 'WRITE']);
const GROUP_SECTIONS = new Set(['physical_volumes', 'logical_volumes', 'historical_logical_volumes']);
const PHYSICAL_STATUS = new Set<LvmScalar>(['ALLOCATABLE']);
const VOLUME_STATUS = new Set<LvmScalar>(['READ', 'WRITE', 'VISIBLE', 'FIXED_MINOR']);
/** pvmove is at work: its volume and the ones that it moves. */
const VOLUME_MOVING = new Set<LvmScalar>(['PVMOVE', 'LOCKED']);
const STRIPED_KEYS = new Set([
  'start_extent',
  'extent_count',
  'type',
  'stripe_count',
  'stripe_size',
  'stripes',
  'tags',
]);
/** STRIPE_SIZE_MIN of lib/config/defaults.h is a page. */
const STRIPE_MIN_BYTES = 4096;
const VOLUMES_MAX = 4096;
const AREAS_MAX = 512 * 1024;

export interface LvmVolume {
  name: string;
  segments: readonly VolumeSegment[];
}

export interface LvmGroup {
  /** Disk bytes that belong to no logical volume: pairs of start and end, sorted. */
  unallocated: Float64Array;
  /** Volumes whose content is nothing but their own. */
  volumes: readonly LvmVolume[];
  /** Names of the other volumes. Their extents are in use. */
  others: readonly string[];
}

/** The extents of the physical volume, as places on the disk. */
interface Extents {
  /** Its name in the metadata. */
  name: string;
  /** Of the first extent, bytes on the disk. */
  at: number;
  bytes: number;
  count: number;
}

/** Reads the group of the physical volume at `start`. Inconsistent when it has others as well, or is not understood. */
export function readLvmGroup(label: LvmLabel, start: number): LvmGroup {
  const root = parseLvmText(label.text);
  if (root.values.get('contents') !== 'Text Format Volume Group' || root.values.get('version') !== 1) {
    throw new Inconsistent('LVM: its metadata has another form');
  }
  const [group, second] = [...root.sections.values()];
  if (!group || second) throw new Inconsistent('LVM: its metadata is not that of one volume group');
  checkGroup(group);
  const extents = readExtents(group, label, start);
  const volumes = [...(group.sections.get('logical_volumes')?.sections ?? [])];
  if (volumes.length > VOLUMES_MAX) throw new Inconsistent(`LVM: ${volumes.length} volumes`);
  const mentioned = new Set(volumes.flatMap(([, volume]) => mentions(volume)));
  const plainAreas: Stripe[] = [];
  const otherAreas: Stripe[] = [];
  const presented: LvmVolume[] = [];
  const others: string[] = [];
  for (const [name, volume] of volumes) {
    for (const segment of volume.sections.values()) {
      const plain = plainStripes(segment, extents);
      if (plain) plainAreas.push(...plain.stripes);
      else otherAreas.push(...possibleAreas(segment, extents));
    }
    const segments = mentioned.has(name) ? undefined : plainSegments(volume, extents);
    if (segments) presented.push({ name, segments });
    else others.push(name);
  }
  const used = allAreas(plainAreas, otherAreas);
  const unallocated = new RangeBuilder();
  subtract(extents.at, extents.at + extents.count * extents.bytes, used, (from, to) => unallocated.add(from, to));
  return { unallocated: unallocated.finish(), volumes: presented, others };
}

function checkGroup(group: LvmSection): void {
  const known =
    group.values.get('format') === 'lvm2' &&
    isSubset(group.values.get('status'), GROUP_STATUS) &&
    isSubset(group.values.get('flags'), new Set()) &&
    [...group.sections.keys()].every((name) => GROUP_SECTIONS.has(name));
  if (!known) throw new Inconsistent('LVM: its volume group has a form or state that is not known here');
  // Other machines may use it as well.
  if (group.values.has('lock_type')) throw new Inconsistent('LVM: its volume group is a shared one');
}

function readExtents(group: LvmSection, label: LvmLabel, start: number): Extents {
  const physical = [...(group.sections.get('physical_volumes')?.sections ?? [])];
  const [first] = physical;
  if (!first || physical.length !== 1) throw new Inconsistent('LVM: its volume group is not on this one disk');
  const [name, { values }] = first;
  const id = values.get('id');
  if (typeof id !== 'string' || id.replaceAll('-', '') !== label.uuid) {
    throw new Inconsistent('LVM: its metadata is that of another physical volume');
  }
  if (!isSubset(values.get('status'), PHYSICAL_STATUS) || !isSubset(values.get('flags'), new Set())) {
    throw new Inconsistent('LVM: its physical volume has a state that is not known here');
  }
  const bytes = natural(group.values.get('extent_size')) * SECTOR;
  const at = start + natural(values.get('pe_start')) * SECTOR;
  const count = natural(values.get('pe_count'));
  const last = at + count * bytes;
  if (bytes === 0 || !Number.isSafeInteger(last) || last > start + label.sizeBytes) {
    throw new Inconsistent('LVM: its extents are not on its physical volume');
  }
  if (label.own.some((own) => own.start < last && own.end > at)) {
    throw new Inconsistent('LVM: its extents lie on its own metadata');
  }
  return { name, at, bytes, count };
}

/** What a volume's segments refer to, among it other volumes. */
function mentions(volume: LvmSection): string[] {
  return [...volume.sections.values()].flatMap(strings);
}

/** All strings of a segment but its type, also those in lists and in sections of its own. */
function strings(section: LvmSection): string[] {
  return [
    ...[...section.values]
      .filter(([key]) => key !== 'type' && key !== 'tags')
      .flatMap(([, value]) => (isList(value) ? value : [value]))
      .filter((value) => typeof value === 'string'),
    ...[...section.sections.values()].flatMap(strings),
  ];
}

/** Where a segment of any type may lie: never less than it does. */
function possibleAreas(segment: LvmSection, extents: Extents): Stripe[] {
  const areas: Stripe[] = [];
  const length = natural(segment.values.get('extent_count'));
  for (const value of segment.values.values()) {
    const list = isList(value) ? value : [value];
    list.forEach((item, index) => {
      if (item !== extents.name) return;
      // Stripes and mirrors are lists of a physical volume and the extent where the area begins. It has as many extents as
      // the segment at most.
      const first = natural(list[index + 1]);
      if (first >= extents.count) throw new Inconsistent('LVM: a volume lies outside of its physical volume');
      areas.push(placeOf(extents, first, Math.min(extents.count, first + length)));
    });
  }
  if ([...segment.sections.values()].some((section) => strings(section).includes(extents.name))) {
    throw new Inconsistent('LVM: a segment names its physical volume in a way that is not known here');
  }
  return areas;
}

function placeOf(extents: Extents, from: number, to: number): Stripe {
  return { start: extents.at + from * extents.bytes, end: extents.at + to * extents.bytes };
}

/** The segments of a volume that is linear or striped and nothing else, or undefined. */
function plainSegments(volume: LvmSection, extents: Extents): VolumeSegment[] | undefined {
  const status = volume.values.get('status');
  if (isList(status) && status.some((flag) => VOLUME_MOVING.has(flag))) {
    throw new Inconsistent('LVM: extents are being moved');
  }
  const plain =
    isSubset(status, VOLUME_STATUS) &&
    isList(status) &&
    status.includes('VISIBLE') &&
    isSubset(volume.values.get('flags'), new Set());
  if (!plain || natural(volume.values.get('segment_count')) !== volume.sections.size) return undefined;
  const segments: VolumeSegment[] = [];
  let next = 0;
  for (let index = 1; index <= volume.sections.size; index++) {
    const section = volume.sections.get(`segment${index}`);
    if (!section || natural(section.values.get('start_extent')) !== next) return undefined;
    const stripes = plainStripes(section, extents);
    if (!stripes) return undefined;
    const length = natural(section.values.get('extent_count'));
    segments.push({ start: next * extents.bytes, end: (next + length) * extents.bytes, ...stripes });
    next += length;
  }
  return segments.length === 0 ? undefined : segments;
}

function plainStripes(segment: LvmSection, extents: Extents): { stripeBytes: number; stripes: Stripe[] } | undefined {
  const { values, sections } = segment;
  if (values.get('type') !== 'striped' || sections.size !== 0) return undefined;
  if (![...values.keys()].every((key) => STRIPED_KEYS.has(key))) return undefined;
  const list = values.get('stripes');
  const count = natural(values.get('stripe_count'));
  const areaExtents = natural(values.get('extent_count')) / count;
  if (count === 0 || areaExtents === 0 || !isList(list) || list.length !== 2 * count) return undefined;
  if (!Number.isInteger(areaExtents)) return undefined;
  const bytes = areaExtents * extents.bytes;
  const stripeBytes = count === 1 ? bytes : natural(values.get('stripe_size')) * SECTOR;
  if (stripeBytes < STRIPE_MIN_BYTES && count > 1) return undefined;
  if (bytes % stripeBytes !== 0) return undefined;
  const stripes: Stripe[] = [];
  for (let i = 0; i < count; i++) {
    if (list[2 * i] !== extents.name) return undefined;
    const first = natural(list[2 * i + 1]);
    if (first + areaExtents > extents.count)
      throw new Inconsistent('LVM: a volume lies outside of its physical volume');
    stripes.push(placeOf(extents, first, first + areaExtents));
  }
  return { stripeBytes, stripes };
}

/** All areas, joined. Those of `plain` are exact: when one lies on anything else, nothing of the metadata is to be believed. */
function allAreas(plain: readonly Stripe[], others: Stripe[]): Float64Array {
  if (plain.length + others.length > AREAS_MAX) throw new Inconsistent(`LVM: ${plain.length + others.length} areas`);
  const joined = new RangeBuilder(Number.POSITIVE_INFINITY);
  let last = 0;
  for (const { start, end } of others.sort((a, b) => a.start - b.start)) {
    joined.add(Math.max(start, last), end);
    last = Math.max(last, end);
  }
  const all = [...plain, ...toRanges(joined.finish())].sort((a, b) => a.start - b.start);
  const used = new RangeBuilder(Number.POSITIVE_INFINITY);
  let before = 0;
  for (const { start, end } of all) {
    if (start < before) throw new Inconsistent('LVM: an extent belongs to two volumes');
    used.add(start, end);
    before = end;
  }
  return used.finish();
}

function toRanges(pairs: Float64Array): Stripe[] {
  return Array.from({ length: pairs.length / 2 }, (_, i) => ({ start: pairs[2 * i] ?? 0, end: pairs[2 * i + 1] ?? 0 }));
}

function isList(value: LvmValue | undefined): value is readonly LvmScalar[] {
  return typeof value === 'object';
}

/** An absent list has nothing that is not known. */
function isSubset(value: LvmValue | undefined, known: ReadonlySet<LvmScalar>): boolean {
  return value === undefined || (isList(value) && value.every((item) => known.has(item)));
}

function natural(value: LvmValue | undefined): number {
  if (typeof value !== 'number' || value < 0) throw new Inconsistent('LVM: a number is missing in its metadata');
  return value;
}
