/** What every hypervisor contract test works on: a driver with one empty dir pool, made anew for each file. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskSpec, HypervisorDriver, VmSpec, VolumeRef } from '../../../appliance/hypervisor/driver.ts';

export const MIB = 1024 * 1024;
export const JOB = 'contract1';

/** An implementation under test. The pool `default` is a folder of this machine, so that a test can look at the files themselves. */
export interface Bench {
  driver: HypervisorDriver;
  poolFolder: string;
  /** For files of a test; removed by close. */
  scratch: string;
  close(): Promise<void>;
}

export const raw = (name: string): VolumeRef & { format: 'raw' } => ({ pool: 'default', name, format: 'raw' });
export const qcow2 = (name: string): VolumeRef & { format: 'qcow2' } => ({ pool: 'default', name, format: 'qcow2' });

/** A disk on the bus that takes hot-plugging. */
export const scsi = (volume: VolumeRef, serial: string, more: Partial<DiskSpec> = {}): DiskSpec => ({
  volume,
  serial,
  bus: 'scsi',
  ...more,
});

/** A small emulated VM without devices. */
export const vm = (name: string, more: Partial<VmSpec> = {}): VmSpec => ({
  name,
  memoryBytes: 128 * MIB,
  cpus: 1,
  acceleration: 'tcg',
  firmware: 'bios',
  disks: [],
  nics: [],
  video: false,
  owner: { jobId: JOB, role: 'transfer' },
  ...more,
});

/** A raw volume that begins with `content`. */
export async function filled(bench: Bench, name: string, content: Uint8Array, capacityBytes = MIB): Promise<VolumeRef> {
  const file = join(bench.scratch, name);
  await writeFile(file, content);
  await bench.driver.createVolume(raw(name), capacityBytes);
  await bench.driver.uploadVolume(raw(name), file);
  return raw(name);
}

/** Text of a console up to and with `until`, or up to its end. Rejects after `deadlineMs`. */
export async function readUntil(
  reader: { read(): Promise<Buffer | undefined> },
  until: string,
  deadlineMs = 60_000,
): Promise<string> {
  let timer: NodeJS.Timeout | undefined;
  let text = '';
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the console said only ${JSON.stringify(text)}`)), deadlineMs);
  });
  try {
    for (;;) {
      const piece = await Promise.race([reader.read(), late]);
      if (piece === undefined) return text;
      text += piece.toString('latin1');
      if (text.includes(until)) return text;
    }
  } finally {
    clearTimeout(timer);
  }
}
