/** Documents for libvirt are built as DOM: whatever a value holds, it stays a value. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DiskSpec, VmSpec } from '../../../appliance/hypervisor/driver.ts';
import { domainXml } from '../../../appliance/hypervisor/libvirt/domain-xml.ts';
import { readOwner } from '../../../appliance/hypervisor/libvirt/owner.ts';
import type { StoredVolume } from '../../../appliance/hypervisor/libvirt/volumes.ts';
import { attributeOf, children, find, parse, serialize, textOf } from '../../../appliance/hypervisor/libvirt/xml.ts';

const NASTY = `a"b'c<d>&e]]>../<!--`;

const spec: VmSpec = {
  name: 'vm',
  memoryBytes: 256 * 1024 * 1024,
  cpus: 2,
  acceleration: 'tcg',
  firmware: 'bios',
  disks: [],
  nics: [],
  video: false,
  owner: { jobId: 'abcdef1', role: 'transfer' },
};

const disk = (serial: string, bus: DiskSpec['bus'], more: Partial<DiskSpec> = {}): DiskSpec => ({
  volume: { pool: 'p', name: 'n.raw', format: 'raw' },
  serial,
  bus,
  ...more,
});

const stored = (path: string, more: Partial<StoredVolume> = {}): StoredVolume => ({
  pool: 'p',
  name: 'n.raw',
  format: 'raw',
  path,
  capacityBytes: 1,
  allocationBytes: 0,
  storedAs: 'file',
  ...more,
});

const nothing = { arch: 'x86_64', disks: [], networks: [] };

void test('hypervisor-xml: hostile values come back as they were, and add no element', () => {
  const hostile: VmSpec = {
    ...spec,
    name: NASTY,
    kernel: {
      kernel: { pool: 'p', name: 'k.raw', format: 'raw' },
      initrd: { pool: 'p', name: 'i.raw', format: 'raw' },
      commandLine: NASTY,
    },
    disks: [disk(NASTY, 'scsi')],
    nics: [{ network: NASTY, model: 'virtio', mac: NASTY }],
    owner: { jobId: NASTY, role: 'target' },
  };
  const plain = { ...hostile, name: 'x', kernel: undefined, owner: { jobId: 'x', role: 'target' } as const };
  const text = domainXml(hostile, {
    arch: NASTY,
    disks: [stored(NASTY)],
    networks: [{ name: NASTY, kind: 'network', active: true }],
    kernelPath: NASTY,
    initrdPath: NASTY,
  });
  const domain = parse(text);
  const devices = find(domain, 'devices');
  assert.ok(devices !== undefined);
  assert.equal(textOf(domain, 'name'), NASTY);
  assert.equal(textOf(domain, 'os', 'cmdline'), NASTY);
  assert.equal(textOf(domain, 'os', 'kernel'), NASTY);
  assert.equal(textOf(devices, 'disk', 'serial'), NASTY);
  assert.equal(attributeOf(devices, ['disk', 'source'], 'file'), NASTY);
  assert.equal(attributeOf(devices, ['interface', 'mac'], 'address'), NASTY);
  assert.equal(attributeOf(devices, ['interface', 'source'], 'network'), NASTY);
  const owner = find(domain, 'metadata', 'rehost:owner');
  assert.ok(owner !== undefined);
  assert.deepEqual(readOwner(serialize(owner)), { jobId: NASTY, role: 'target' });
  const { kernel: _, ...withoutKernel } = plain;
  const harmless = parse(
    domainXml(withoutKernel, {
      arch: 'x',
      disks: [stored('x')],
      networks: [{ name: 'x', kind: 'network', active: true }],
    }),
  );
  // Three elements more: kernel, initrd, cmdline.
  assert.equal(domain.getElementsByTagName('*').length, harmless.getElementsByTagName('*').length + 3);
});

void test('hypervisor-xml: the format of every disk is stated, its zeroes and discards go through', () => {
  const disks = [
    disk('a', 'scsi', { bootOrder: 1 }),
    disk('b', 'virtio', { readonly: true, logicalSectorBytes: 4096 }),
  ];
  const domain = parse(
    domainXml(
      { ...spec, disks },
      {
        ...nothing,
        disks: [stored('/a'), stored('/dev/b', { storedAs: 'block', format: 'qcow2' })],
      },
    ),
  );
  const [first, second] = children(find(domain, 'devices') ?? domain, 'disk');
  assert.ok(first !== undefined && second !== undefined);
  assert.equal(
    serialize(first),
    '<disk type="file" device="disk"><driver name="qemu" type="raw" cache="none" io="threads" error_policy="report" rerror_policy="report" discard="unmap" detect_zeroes="off"/>' +
      '<source file="/a"/><target dev="sda" bus="scsi"/><serial>a</serial><boot order="1"/>' +
      '<address type="drive" bus="0" target="0" controller="0" unit="0"/></disk>',
  );
  assert.equal(
    serialize(second),
    '<disk type="block" device="disk"><driver name="qemu" type="qcow2" cache="none" io="threads" error_policy="report" rerror_policy="report" discard="unmap" detect_zeroes="off"/>' +
      '<source dev="/dev/b"/><target dev="vda" bus="virtio"/><blockio logical_block_size="4096" physical_block_size="4096"/>' +
      '<readonly/><serial>b</serial></disk>',
  );
});

void test("hypervisor-xml: a target VM's disks keep QEMU's policy for errors: a full pool stops it until there is room", () => {
  for (const role of ['target', 'probe'] as const) {
    const owner = { jobId: 'abcdef1', role };
    const text = domainXml({ ...spec, owner, disks: [disk('a', 'scsi')] }, { ...nothing, disks: [stored('/a')] });
    assert.doesNotMatch(text, /error_policy/);
  }
});

void test('hypervisor-xml: every disk has a name and an address of its own', () => {
  const disks = Array.from({ length: 60 }, (_, index) => disk(`s${index}`, index % 2 === 0 ? 'scsi' : 'sata'));
  const domain = parse(
    domainXml({ ...spec, disks }, { ...nothing, disks: disks.map((_, index) => stored(`/${index}`)) }),
  );
  const made = children(find(domain, 'devices') ?? domain, 'disk');
  const seen = (pick: (element: (typeof made)[number]) => string) => new Set(made.map(pick)).size;
  assert.equal(
    seen((one) => attributeOf(one, ['target'], 'dev') ?? ''),
    60,
  );
  const address = (one: (typeof made)[number]) =>
    ['controller', 'unit'].map((name) => attributeOf(one, ['address'], name)).join(':');
  assert.equal(
    seen((one) => `${attributeOf(one, ['target'], 'bus')} ${address(one)}`),
    60,
  );
  assert.equal(attributeOf(made[54] ?? domain, ['target'], 'dev'), 'sdbc');
});

void test('hypervisor-xml: acceleration, firmware, role and screen choose the machine', () => {
  const devices = (text: string) => find(parse(text), 'devices') ?? parse(text);
  const transfer = domainXml(spec, nothing);
  assert.equal(parse(transfer).getAttribute('type'), 'qemu');
  assert.equal(attributeOf(parse(transfer), ['cpu'], 'mode'), 'maximum');
  assert.equal(textOf(parse(transfer), 'on_reboot'), 'destroy');
  assert.equal(attributeOf(devices(transfer), ['memballoon'], 'model'), 'none');
  assert.equal(attributeOf(devices(transfer), ['controller'], 'model'), 'none');
  assert.equal(find(devices(transfer), 'video'), undefined);
  const target = domainXml(
    { ...spec, acceleration: 'kvm', firmware: 'uefi', video: true, owner: { jobId: 'abcdef1', role: 'target' } },
    nothing,
  );
  assert.equal(parse(target).getAttribute('type'), 'kvm');
  assert.equal(attributeOf(parse(target), ['cpu'], 'mode'), 'host-model');
  assert.equal(attributeOf(parse(target), ['os'], 'firmware'), 'efi');
  assert.equal(textOf(parse(target), 'on_reboot'), 'restart');
  assert.equal(attributeOf(devices(target), ['graphics', 'listen'], 'type'), 'none');
  assert.equal(attributeOf(devices(target), ['channel', 'target'], 'name'), 'org.qemu.guest_agent.0');
});

void test('hypervisor-xml: what the hypervisor sends must be XML', () => {
  for (const text of ['', 'no', '<a>', '<a></b>', '<a/><b/>', '<a b=c/>', '<a b/>', '<a>&unknown;</a>']) {
    assert.throws(() => parse(text), { code: 'HYPERVISOR_REFUSED' }, text);
  }
});
