/** Thread that reads the disks' allocation maps, once for all connections: minutes on large rotating disks. */
import { parentPort } from 'node:worker_threads';
import type { Allocation } from '../../appliance/api/control.ts';
import { toWire } from '../../appliance/api/errors.ts';
import { assignment } from '../../appliance/api/threads.ts';
import { buildMap, fullMap } from './allocation/build.ts';
import { withHoles } from './allocation/holes.ts';
import { AllocationMap } from './allocation/map.ts';
import { DeviceSource } from './allocation/source.ts';
import { openDisk } from './open-disk.ts';
import type { AllocationReport, AllocationWork, ExportDisk } from './shared.ts';

function report(message: AllocationReport): void {
  parentPort?.postMessage(message);
}

function mapDisk(disk: ExportDisk, index: number, allocation: Allocation): void {
  const nothing = { sizeBytes: disk.sizeBytes, free: new Float64Array(new SharedArrayBuffer(0)) };
  const reader = openDisk(disk, new AllocationMap({ ...nothing, unknown: nothing.free }));
  const source = new DeviceSource(reader.device, disk.sizeBytes);
  try {
    const { areas, ...map } =
      allocation === 'full' ? fullMap(disk.sizeBytes) : withHoles(buildMap(source), reader.device);
    report({ kind: 'map', disk: index, map, areas: areas.map((area) => ({ disk: disk.disk, ...area })) });
  } finally {
    source.free();
    reader.close();
  }
}

try {
  const { disks, allocation } = await assignment<AllocationWork>();
  disks.forEach((disk, index) => {
    mapDisk(disk, index, allocation);
  });
  report({ kind: 'done' });
} catch (error) {
  report({ kind: 'failed', error: toWire(error) });
}
