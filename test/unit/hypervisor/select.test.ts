/** The driver is chosen by what the host says of itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LibvirtDriver } from '../../../appliance/hypervisor/libvirt/driver.ts';
import { connect } from '../../../appliance/hypervisor/select.ts';

void test('hypervisor-select: a host of another kind is refused by name', async () => {
  await assert.rejects(connect('test:///default'), { code: 'HYPERVISOR_REFUSED', message: /kind TEST/ });
});

void test('hypervisor-select: a host that cannot be reached is unreachable, with the words of libvirt', async () => {
  await assert.rejects(connect('qemu+unix:///system?socket=/nonexistent/socket'), {
    code: 'HYPERVISOR_UNREACHABLE',
    message: /\/nonexistent\/socket/,
  });
  await assert.rejects(connect('nonsense:///system'), { code: 'HYPERVISOR_UNREACHABLE' });
});

void test('hypervisor-driver: what libvirt does not know becomes the stable codes', async () => {
  const driver = new LibvirtDriver('test:///default');
  try {
    await assert.rejects(driver.listVolumes('none'), {
      code: 'POOL_UNKNOWN',
      message: /pool none.*Storage pool not found/s,
    });
    await assert.rejects(driver.startVm('none'), { code: 'NOT_FOUND' });
    assert.equal(await driver.vmState('none'), 'absent');
    assert.equal(await driver.vmState('test'), 'running');
    await driver.destroyVm('none');
    await assert.rejects(driver.destroyVm('test'), { code: 'HYPERVISOR_REFUSED', message: /not made by Rehost/ });
    assert.equal(await driver.vmState('test'), 'running');
    assert.deepEqual(await driver.ownedVms(), []);
  } finally {
    await driver.close();
  }
});
