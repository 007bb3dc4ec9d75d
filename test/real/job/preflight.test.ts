/** Orders that cannot go well are refused before anything is made, on a real libvirtd. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Job, JobOrder } from '../../../appliance/api/job.ts';
import type { Machine } from '../../../appliance/api/rest.ts';
import type { HypervisorDriver } from '../../../appliance/hypervisor/driver.ts';
import { connect } from '../../../appliance/hypervisor/select.ts';
import type { HypervisorHandle } from '../../../appliance/job/dependencies.ts';
import { preflight } from '../../../appliance/job/preflight.ts';
import { type LabLibvirtd, startLibvirtd } from '../../lab/libvirtd.ts';

const GIB = 1024 ** 3;
let libvirtd: LabLibvirtd;
let driver: HypervisorDriver;
let hypervisor: HypervisorHandle;

function sourceMachine(change: Partial<Machine> = {}, diskBytes = GIB): Machine {
  return {
    id: 'm1',
    name: 'db1',
    approved: true,
    online: true,
    firstSeenAt: '2026-01-01T00:00:00.000Z',
    lastSeenAt: '2026-01-01T00:00:00.000Z',
    address: '192.0.2.60',
    inventory: {
      vendor: 'Lab',
      product: 'Source',
      serial: '1',
      uuid: '',
      firmware: 'bios',
      secureBoot: false,
      cpu: { model: 'cpu', cores: 2 },
      memoryBytes: GIB,
      disks: [
        {
          name: 'sda',
          sizeBytes: diskBytes,
          logicalSectorBytes: 512,
          model: 'DISK',
          serial: 'S1',
          bus: 'ata',
          rotational: true,
          table: 'gpt',
          partitions: [],
        },
      ],
      nics: [],
    },
    ...change,
  };
}

const ORDER: JobOrder = { machine: 'm1', name: 'db1-copy' };

before(async () => {
  libvirtd = await startLibvirtd();
  driver = await connect(libvirtd.uri);
  await driver.ensureIsolatedNetwork('lan');
  hypervisor = {
    name: 'lab',
    driver,
    pool: 'default',
    network: 'lan',
    isolatedNetwork: 'isolated',
    transferNetwork: 'lan',
    acceleration: 'tcg',
  };
});

after(async () => {
  await driver?.close();
  await libvirtd?.stop();
});

test('preflight: an order that can be kept becomes a record, and nothing is made yet', async () => {
  const job = await preflight(ORDER, sourceMachine(), hypervisor, []);
  assert.equal(job.state, 'provision');
  assert.match(job.id, /^[a-z0-9]{6,24}$/);
  assert.equal(job.phases[0]?.state, 'preflight');
  assert.deepEqual(await driver.listVolumes('default'), []);
  assert.deepEqual(await driver.ownedVms(), []);
});

for (const [what, code, attempt] of [
  [
    'a machine that nobody approved',
    'MACHINE_NOT_APPROVED',
    () => preflight(ORDER, sourceMachine({ approved: false }), hypervisor, []),
  ],
  [
    'a machine that is away',
    'MACHINE_OFFLINE',
    () => preflight(ORDER, sourceMachine({ online: false }), hypervisor, []),
  ],
  [
    'a disk larger than the pool',
    'POOL_TOO_SMALL',
    () => preflight(ORDER, sourceMachine({}, 1024 ** 5), hypervisor, []),
  ],
  [
    'a pool that does not exist',
    'POOL_UNKNOWN',
    () => preflight({ ...ORDER, pool: 'nowhere' }, sourceMachine(), hypervisor, []),
  ],
  [
    'a network that does not exist',
    'NETWORK_UNKNOWN',
    () => preflight({ ...ORDER, network: 'nowhere' }, sourceMachine(), hypervisor, []),
  ],
  [
    'a disk that the machine does not have',
    'REQUEST_INVALID',
    () => preflight({ ...ORDER, disks: ['sdz'] }, sourceMachine(), hypervisor, []),
  ],
  [
    'a machine without disks',
    'SNAPSHOT_REFUSED',
    () => {
      const machine = sourceMachine();
      machine.inventory.disks = [];
      return preflight(ORDER, machine, hypervisor, []);
    },
  ],
] as [string, string, () => Promise<Job>][]) {
  test(`preflight: ${what} is refused with ${code}, and nothing is made`, async () => {
    await assert.rejects(attempt(), { code });
    assert.deepEqual(await driver.listVolumes('default'), []);
  });
}

test('preflight: a name that a VM of somebody has is refused', async () => {
  await driver.defineVm({
    name: 'db1-copy',
    memoryBytes: 64 * 1024 ** 2,
    cpus: 1,
    acceleration: 'tcg',
    firmware: 'bios',
    disks: [],
    nics: [],
    video: false,
    owner: { jobId: 'another1', role: 'target' },
  });
  await assert.rejects(preflight(ORDER, sourceMachine(), hypervisor, []), { code: 'NAME_TAKEN' });
  assert.equal(await driver.vmState('db1-copy'), 'shut-off');
  await driver.destroyVm('db1-copy');
});

test('preflight: a machine or a name that another job has is refused', async () => {
  const running = await preflight(ORDER, sourceMachine(), hypervisor, []);
  await assert.rejects(preflight({ ...ORDER, name: 'other' }, sourceMachine(), hypervisor, [running]), {
    code: 'MACHINE_BUSY',
  });
  await assert.rejects(preflight(ORDER, sourceMachine({ id: 'm2' }), hypervisor, [running]), { code: 'NAME_TAKEN' });
});
