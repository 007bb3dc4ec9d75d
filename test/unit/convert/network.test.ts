import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dhcpKeyfile, dhcpNetworkUnit } from '../../../receiver/convert/linux/dhcp-ini.ts';
import { dhcpInterfaces } from '../../../receiver/convert/linux/dhcp-interfaces.ts';
import { dhcpNetplan } from '../../../receiver/convert/linux/dhcp-netplan.ts';
import { ifupdownNames, iniValues, netplanNames } from '../../../receiver/convert/linux/network-names.ts';
import { linkFile, persistentNames, planNames } from '../../../receiver/convert/linux/nic-names.ts';

const MAC1 = '52:54:00:00:00:01';
const MAC2 = '52:54:00:00:00:02';
const NONE = new Map<string, string>();

void test('a NIC keeps the name that the guest configures', () => {
  const nics = [
    { name: 'ens3', mac: MAC1 },
    { name: 'ens4', mac: MAC2 },
  ];
  assert.deepEqual(planNames(nics, new Set(['ens4', 'ens3', 'br0']), NONE).pinned, nics);
});

void test('a NIC that the agent calls otherwise gets the one name that is configured', () => {
  const plan = planNames([{ name: 'eth0', mac: MAC1 }], new Set(['enp0s3', 'br0']), NONE);
  assert.deepEqual(plan.pinned, [{ name: 'enp0s3', mac: MAC1 }]);
});

void test('a NIC is not paired with a name by guessing', () => {
  const nics = [
    { name: 'eth0', mac: MAC1 },
    { name: 'eth1', mac: MAC2 },
  ];
  const plan = planNames(nics, new Set(['enp0s3']), NONE);
  assert.deepEqual(plan.pinned, []);
  assert.match(plan.notes.join(), /enp0s3, and it is not known which/);
});

void test("several NICs have the configured ones among the names that udev may give them, whatever the agent's kernel calls them", () => {
  const nics = [
    { name: 'eth0', pathNames: ['eno7', 'ens4', 'enp0s4'], mac: MAC1 },
    { name: 'eth1', pathNames: ['ens3', 'enp0s3'], mac: MAC2 },
  ];
  const cases: [string[], [string | undefined, string | undefined]][] = [
    [
      ['enp0s3', 'ens4', 'br0'],
      ['ens4', 'enp0s3'],
    ],
    // The most likely of several.
    [
      ['enp0s4', 'eno7', 'ens3'],
      ['eno7', 'ens3'],
    ],
    // A name that is the one's is not given to the other one because that is the last.
    [
      ['ens4', 'eno7'],
      ['eno7', undefined],
    ],
    // What remains is one name for one NIC.
    [
      ['ens4', 'eth5'],
      ['ens4', 'eth5'],
    ],
    // The guest keeps the kernel's names, of which the agent's are the best guess.
    [
      ['eth0', 'eth1'],
      ['eth0', 'eth1'],
    ],
  ];
  for (const [configured, names] of cases) {
    const { pinned } = planNames(nics, new Set(configured), NONE);
    const named = new Map(pinned.map((nic) => [nic.mac, nic.name]));
    assert.deepEqual([named.get(MAC1), named.get(MAC2)], names, configured.join());
  }
});

void test('a name that two NICs may have belongs to the one that has no other', () => {
  const nics = [
    { name: 'eth0', pathNames: ['ens4', 'enp1s0'], mac: MAC1 },
    { name: 'eth1', pathNames: ['eno1', 'ens4'], mac: MAC2 },
  ];
  const pinned = (...configured: string[]): unknown => planNames(nics, new Set(configured), NONE).pinned;
  assert.deepEqual(pinned('ens4', 'eno1'), [
    { name: 'eno1', mac: MAC2 },
    { name: 'ens4', mac: MAC1 },
  ]);
  assert.deepEqual(pinned('ens4'), []);
});

void test('a NIC without any configuration keeps a predictable name only', () => {
  assert.deepEqual(planNames([{ name: 'eno1', mac: MAC1 }], new Set(), NONE).pinned, [{ name: 'eno1', mac: MAC1 }]);
  assert.deepEqual(planNames([{ name: 'eth0', mac: MAC1 }], new Set(), NONE).pinned, []);
});

void test('a NIC keeps the name of its persistent rule', () => {
  const rules = `# comment NAME="x"\nSUBSYSTEM=="net", ACTION=="add", DRIVERS=="?*", ATTR{address}=="${MAC1.toUpperCase()}", KERNEL=="eth*", NAME="lan0"\n`;
  assert.deepEqual([...persistentNames(rules)], [[MAC1, 'lan0']]);
  assert.deepEqual(planNames([{ name: 'eth0', mac: MAC1 }], new Set(['eth0']), persistentNames(rules)).pinned, [
    { name: 'lan0', mac: MAC1 },
  ]);
  assert.deepEqual([...persistentNames(`ATTR{address}=="${MAC1}", NAME="../../x"`)], [], 'never a path');
});

void test('a .link file ties the name to the MAC', () => {
  assert.equal(
    linkFile({ name: 'ens3', mac: MAC1 }, 252),
    `# Written by Rehost: this NIC had this name on the source machine.\n[Match]\nPermanentMACAddress=${MAC1}\n\n[Link]\nName=ens3\n`,
  );
  assert.match(linkFile({ name: 'ens3', mac: MAC1 }, 241), /\nMACAddress=.*\nDriver=virtio_net/);
});

void test('interface names are found in every kind of configuration', () => {
  const interfaces =
    'auto lo eth0\niface eth0:1 inet static\niface eth1.5 inet manual\niface br0 inet dhcp\n  bridge_ports ens5 none\n# iface no inet dhcp\n';
  assert.deepEqual(ifupdownNames(interfaces), ['lo', 'eth0', 'eth0', 'eth1', 'br0', 'ens5']);
  assert.deepEqual(iniValues('[Match]\nName=ens3 ens4\n[Link]\nName=x\n#Name=y\n', 'Match', 'Name'), ['ens3 ens4']);
  const netplan =
    'network:\n  version: 2\n  ethernets:\n    ens3:\n      addresses: [10.0.0.1/24]\n    "ens4":\n      dhcp4: true\n  bridges:\n    br0:\n      interfaces: [ens3]\n';
  assert.deepEqual(netplanNames(netplan), ['ens3', 'ens4']);
});

void test('interfaces: static becomes dhcp, and what is not the address stays', () => {
  const before = `# mine
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

auto ens3 ens3:1
iface ens3 inet static
    address 10.0.0.5/24
    gateway 10.0.0.1
    dns-nameservers 10.0.0.2
    # keep
    mtu 9000
    up ip route add 10.9.0.0/16 via 10.0.0.9

iface ens3:1 inet static
    address 10.0.0.6/24

iface ens3 inet6 static
    address fd00::5/64

iface ens4 inet manual
`;
  const after = `# mine
source /etc/network/interfaces.d/*

auto lo
iface lo inet loopback

auto ens3
iface ens3 inet dhcp
    # keep
    mtu 9000
    up ip route add 10.9.0.0/16 via 10.0.0.9


iface ens3 inet6 auto

iface ens4 inet manual
`;
  assert.equal(dhcpInterfaces(before), after);
  assert.equal(dhcpInterfaces(after), after, 'a second time changes nothing');
});

void test('networkd: a static unit asks by DHCP, others stay', () => {
  const unit =
    '[Match]\nName=ens3\n\n[Network]\nAddress=10.0.0.5/24\nGateway=10.0.0.1\nIPForward=yes\n\n[Route]\nDestination=10.9.0.0/16\nGateway=10.0.0.9\n\n[Link]\nMTUBytes=9000\n';
  const after = '[Match]\nName=ens3\n\n[Network]\nDHCP=yes\nIPForward=yes\n\n[Link]\nMTUBytes=9000\n';
  assert.equal(dhcpNetworkUnit(unit), after);
  for (const other of [
    after,
    '[Match]\nName=ens4\n[Network]\nBridge=br0\n',
    '[Match]\nName=lo\n[Network]\nAddress=10.1.1.1/32\n',
  ]) {
    assert.equal(dhcpNetworkUnit(other), other);
  }
  assert.equal(
    dhcpNetworkUnit('[Match]\nName=ens3\n[Address]\nAddress=10.0.0.5/24\n'),
    '[Match]\nName=ens3\n[Network]\nDHCP=yes\n',
  );
});

void test('NetworkManager: a manual profile becomes automatic', () => {
  const profile =
    '[connection]\nid=lan\nuuid=x\n\n[ipv4]\naddress1=10.0.0.5/24,10.0.0.1\ndns=10.0.0.2;\nmay-fail=false\nmethod=manual\n\n[ipv6]\nmethod=ignore\n';
  const after = '[connection]\nid=lan\nuuid=x\n\n[ipv4]\nmay-fail=false\nmethod=auto\n\n[ipv6]\nmethod=ignore\n';
  assert.equal(dhcpKeyfile(profile), after);
  assert.equal(dhcpKeyfile(after), after);
});

void test('netplan: one file by MAC replaces static ones, name servers alone are no reason', () => {
  const nics = [{ name: 'ens3', mac: MAC1.toUpperCase() }];
  const inline = 'network:\n  renderer: NetworkManager\n  ethernets:\n    ens3:\n      addresses: [10.0.0.5/24]\n';
  const list = 'network:\n  ethernets:\n    ens3:\n      addresses:\n        # mine\n        - "fd00::5/64"\n';
  assert.match(
    dhcpNetplan([inline], nics) ?? '',
    /renderer: NetworkManager\n {2}ethernets:\n {4}"ens3":\n {6}match:\n {8}macaddress: "52:54:00:00:00:01"\n {6}dhcp4: true\n$/,
  );
  assert.match(dhcpNetplan([list], nics) ?? '', /renderer: networkd/);
  assert.equal(
    dhcpNetplan(
      ['network:\n  ethernets:\n    ens3:\n      dhcp4: true\n      nameservers:\n        addresses: [10.0.0.2]\n'],
      nics,
    ),
    undefined,
  );
});
