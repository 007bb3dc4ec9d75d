import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentScript, scriptUrl } from '../../../appliance/pxe/ipxe-script.ts';

const FACTS = {
  orchestrator: { host: '10.77.0.1', port: 8443 },
  boot: { host: 'boot.lan', port: 8480 },
  pin: 'ab'.repeat(32),
};

void test('ipxe script: kernel and initramfs come from the boot server with the command line that the agent reads', () => {
  const lines = agentScript(FACTS).split('\n');
  assert.equal(lines[0], '#!ipxe');
  const kernel = lines.find((line) => line.startsWith('kernel '));
  assert.equal(
    kernel,
    `kernel http://boot.lan:8480/boot/agent/vmlinuz initrd=initrd rehost.orchestrator=10.77.0.1:8443 rehost.boot=http://boot.lan:8480 rehost.pin=${FACTS.pin} raid=noautodetect console=tty0 console=ttyS0,115200 panic=30 quiet || goto failed`,
  );
  assert.ok(lines.includes('initrd --name initrd http://boot.lan:8480/boot/agent/initrd || goto failed'));
  assert.ok(lines.includes('boot || goto failed'));
});

void test('ipxe script: an IPv6 address stands in brackets', () => {
  const script = agentScript({ ...FACTS, orchestrator: { host: 'fd00::1', port: 8443 } });
  assert.match(script, / rehost\.orchestrator=\[fd00::1\]:8443 /);
  assert.equal(scriptUrl({ host: 'fd00::2', port: 80 }), 'http://[fd00::2]:80/boot/agent.ipxe');
});

void test('ipxe script: nothing but an address, a port and a hash gets in', () => {
  for (const host of [
    '',
    'a b',
    'a\nchain http://evil',
    'a||reboot',
    `\${net0/mac}`,
    'a/b',
    "a'b",
    'fe80::1%eth0',
    '-a',
    'a,b',
  ])
    assert.throws(() => agentScript({ ...FACTS, boot: { host, port: 1 } }), { code: 'REQUEST_INVALID' }, host);
  for (const port of [0, 65536, 1.5, Number.NaN])
    assert.throws(() => agentScript({ ...FACTS, orchestrator: { host: 'a', port } }), { code: 'REQUEST_INVALID' });
  for (const pin of ['', 'AB'.repeat(32), `${'ab'.repeat(32)}\n`, `${'ab'.repeat(31)} a`])
    assert.throws(() => agentScript({ ...FACTS, pin }), { code: 'REQUEST_INVALID' }, pin);
});
