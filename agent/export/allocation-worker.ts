/** Thread that reads the disks' allocation maps, once for all connections: it blocks for seconds on large disks. */
import { parentPort, workerData } from 'node:worker_threads';
import { toWire } from '../../appliance/api/errors.ts';
import { buildMap } from './allocation/build.ts';
import { AllocationMap, type MapLists } from './allocation/map.ts';
import { DeviceSource } from './allocation/source.ts';
import { openDisk } from './open-disk.ts';
import type { AllocationReport, AllocationWork, ExportDisk } from './shared.ts';

function mapDisk(disk: ExportDisk): Extract<AllocationReport, { kind: 'maps' }> {
  const nothing = { sizeBytes: disk.sizeBytes, free: new Float64Array(new SharedArrayBuffer(0)) };
  const reader = openDisk(disk, new AllocationMap({ ...nothing, unknown: nothing.free }));
  const source = new DeviceSource(reader.device, disk.sizeBytes);
  try {
    const { areas, ...map } = buildMap(source);
    return { kind: 'maps', maps: [map], areas: areas.map((area) => ({ disk: disk.disk, ...area })) };
  } finally {
    source.free();
    reader.close();
  }
}

function run(work: AllocationWork): AllocationReport {
  try {
    const maps: MapLists[] = [];
    const areas: Extract<AllocationReport, { kind: 'maps' }>['areas'] = [];
    for (const disk of work.disks) {
      const mapped = mapDisk(disk);
      maps.push(...mapped.maps);
      areas.push(...mapped.areas);
    }
    return { kind: 'maps', maps, areas };
  } catch (error) {
    return { kind: 'failed', error: toWire(error) };
  }
}

parentPort?.postMessage(run(workerData as AllocationWork));
