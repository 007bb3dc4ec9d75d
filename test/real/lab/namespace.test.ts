import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { run } from '../../lab/command.ts';
import { openLab } from '../../lab/namespace.ts';

const CHILD = join(import.meta.dirname, 'lab-child', 'main.ts');

interface Child {
  process: ChildProcess;
  namespace: string;
  directory: string;
}

async function startChild(): Promise<Child> {
  const child = spawn(process.execPath, [CHILD], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  return { process: child, ...JSON.parse(String(line)) };
}

async function end(child: Child, signal: NodeJS.Signals): Promise<void> {
  const exited = once(child.process, 'exit');
  child.process.kill(signal);
  await exited;
}

const exists = (namespace: string): boolean => existsSync(join('/run/netns', namespace));

void test('lab: a bridge, taps and a neighbour on it, all gone after close, and no trace on the host', async () => {
  const hostBefore = await run(['ip', '-o', 'link']);
  const lab = await openLab();
  try {
    assert.match(await lab.exec(['ip', '-o', '-4', 'address', 'show', lab.bridge]), /inet 10\.77\.0\.1\/24/);
    const taps = [await lab.tap(), await lab.tap()];
    const members = await lab.exec(['ip', '-o', 'link', 'show', 'master', lab.bridge]);
    for (const tap of taps) assert.match(members, new RegExp(`\\b${tap}\\b`));
    // The neighbour is a machine of its own: it is reached over the bridge.
    await lab.exec(['ip', 'netns', 'exec', lab.neighbour, 'bash', '-c', 'exec 3<>/dev/udp/10.77.0.1/9']);
    assert.match(await lab.exec(['ip', 'route']), /^10\.77\.0\.0\/24 dev br-lan .*\n$/);
    assert.equal(await run(['ip', '-o', 'link']), hostBefore);

    const child = lab.spawn(['setsid', 'sh', '-c', 'trap "" TERM; while :; do sleep 1; done'], { stdio: 'ignore' });
    const exited = once(child, 'exit');
    await lab.close();
    await exited;
    await lab.close();
  } finally {
    await lab.close();
  }
  assert.equal(exists(lab.namespace), false);
  assert.equal(exists(lab.neighbour), false);
  assert.equal(existsSync(lab.directory), false);
  assert.equal(await run(['ip', '-o', 'link']), hostBefore);
});

void test('lab: two stand side by side', async () => {
  const first = await openLab();
  try {
    const second = await openLab();
    try {
      assert.notEqual(first.namespace, second.namespace);
      for (const lab of [first, second]) assert.match(await lab.exec(['ip', '-br', 'link']), /br-lan/);
    } finally {
      await second.close();
    }
    assert.ok(exists(first.namespace));
  } finally {
    await first.close();
  }
});

void test('lab: a process that gets SIGTERM removes its lab before it ends', async () => {
  const child = await startChild();
  assert.ok(exists(child.namespace));
  await end(child, 'SIGTERM');
  assert.equal(child.process.signalCode, 'SIGTERM');
  assert.equal(exists(child.namespace), false);
  assert.equal(existsSync(child.directory), false);
});

void test('lab: what a killed process left is removed by the next lab, what a living one has is not', async () => {
  const living = await startChild();
  try {
    const killed = await startChild();
    await end(killed, 'SIGKILL');
    assert.ok(exists(killed.namespace), 'nothing was left to begin with');
    await (await openLab()).close();
    assert.equal(exists(killed.namespace), false);
    assert.equal(existsSync(killed.directory), false);
    assert.ok(exists(living.namespace));
  } finally {
    await end(living, 'SIGTERM');
  }
  assert.equal(exists(living.namespace), false);
});
