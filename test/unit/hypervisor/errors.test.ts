/** What libvirt reports, as the stable codes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import { toRehostError } from '../../../appliance/hypervisor/libvirt/errors.ts';
import { LibvirtError, type LibvirtErrorFacts, VIR_ERR } from '../../../native/libvirt/error.ts';

const libvirt = (facts: Partial<LibvirtErrorFacts>): LibvirtError =>
  new LibvirtError({
    code: 1,
    domain: 0,
    message: 'as libvirt says it',
    call: 'virCall',
    errno: 0,
    lost: false,
    ...facts,
  });

void test('hypervisor-errors: each refusal has its code, and libvirt is quoted', () => {
  const cases: [Partial<LibvirtErrorFacts>, string][] = [
    [{ code: VIR_ERR.NO_DOMAIN }, 'NOT_FOUND'],
    [{ code: VIR_ERR.NO_STORAGE_VOL }, 'NOT_FOUND'],
    [{ code: VIR_ERR.NO_STORAGE_POOL }, 'POOL_UNKNOWN'],
    [{ code: VIR_ERR.NO_NETWORK }, 'NETWORK_UNKNOWN'],
    [{ code: VIR_ERR.STORAGE_VOL_EXIST }, 'NAME_TAKEN'],
    [{ code: VIR_ERR.DOM_EXIST }, 'NAME_TAKEN'],
    [{ code: VIR_ERR.SYSTEM_ERROR, errno: 17 }, 'NAME_TAKEN'],
    [{ code: VIR_ERR.SYSTEM_ERROR, errno: 28 }, 'POOL_FULL'],
    [{ code: VIR_ERR.SYSTEM_ERROR, errno: 122 }, 'POOL_FULL'],
    [{ message: 'qemu-img: error while writing: No space left on device' }, 'POOL_FULL'],
    [{ code: VIR_ERR.SYSTEM_ERROR, errno: 13 }, 'HYPERVISOR_REFUSED'],
    [{ code: VIR_ERR.INTERNAL_ERROR }, 'HYPERVISOR_REFUSED'],
    [{ code: VIR_ERR.SYSTEM_ERROR, errno: 2, lost: true }, 'HYPERVISOR_UNREACHABLE'],
    [{ code: VIR_ERR.RPC, lost: true }, 'HYPERVISOR_UNREACHABLE'],
    [{ code: VIR_ERR.OPERATION_TIMEOUT, lost: true }, 'TIMEOUT'],
  ];
  for (const [facts, code] of cases) {
    const original = libvirt(facts);
    const error = toRehostError('The thing could not be done', original);
    assert.equal(error.code, code, JSON.stringify(facts));
    assert.equal(error.message, `The thing could not be done: ${original.message}`);
    assert.equal(error.cause, original);
  }
});

void test('hypervisor-errors: what is ours stays, what is nobody else is internal', () => {
  const ours = new RehostError('POOL_FULL', 'full');
  assert.equal(toRehostError('x', ours), ours);
  assert.equal(toRehostError('x', new TypeError('a fault')).code, 'INTERNAL');
});
