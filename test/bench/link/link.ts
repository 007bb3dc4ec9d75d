/**
 * A link between two network namespaces: each direction as fast as the kernel's token bucket (tc tbf) lets it, each packet
 * later by a process that carries it (the kernel's own delay, netem, is missing from many kernels).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { onExit } from '../../lab/cleanup.ts';
import { run } from '../../lab/command.ts';
import { kill } from '../../real/transfer/transfer-lab.ts';
import { inNamespace, type Site } from '../site.ts';
import type { DelayOrder } from './delay-process.ts';

const ADDRESSES = ['198.51.100.1', '198.51.100.2'] as const;
const READY_MS = 10_000;

export interface Link {
  site: Site;
  close(): Promise<void>;
}

/** Lays a link (root). `bitsPerSecond` counts IP packets with their headers. */
export async function layLink(bitsPerSecond: number, delayMs: number): Promise<Link> {
  const names = [`rbench-${process.pid}-a`, `rbench-${process.pid}-b`] as const;
  const devices = [`rba${process.pid}`, `rbb${process.pid}`] as const;
  const path = new URL('./delay-process.ts', import.meta.url).pathname;
  const cable = spawn(process.execPath, [path], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const closeCable = onExit('the link', () => kill(cable));
  const closers = [closeCable];
  try {
    const ready = once(cable, 'message', { signal: AbortSignal.timeout(READY_MS) });
    const order: DelayOrder = { names: devices, delayMs };
    cable.send(order);
    await ready;
    for (const [index, namespace] of names.entries()) {
      const device = devices[index] ?? '';
      await run(['ip', 'netns', 'add', namespace]);
      closers.unshift(onExit(`namespace ${namespace}`, () => run(['ip', 'netns', 'delete', namespace]).then(() => {})));
      await run(['ip', 'link', 'set', device, 'netns', namespace]);
      await run(['ip', '-n', namespace, 'link', 'set', 'lo', 'up']);
      const peer = ADDRESSES[1 - index] ?? '';
      await run(['ip', '-n', namespace, 'address', 'add', ADDRESSES[index] ?? '', 'peer', peer, 'dev', device]);
      await run(['ip', '-n', namespace, 'link', 'set', device, 'up']);
      // The burst has room for a packet of 64 KiB; `latency` bounds what waits, as a switch would.
      const shape = ['tbf', 'rate', `${bitsPerSecond}bit`, 'burst', '128kb', 'latency', '20ms'];
      await run(['tc', '-n', namespace, 'qdisc', 'add', 'dev', device, 'root', ...shape]);
    }
    const [source, sink] = names;
    return {
      site: { source: inNamespace(source, ADDRESSES[0]), sink: inNamespace(sink, ADDRESSES[1]) },
      close: async () => {
        for (const close of closers) await close();
      },
    };
  } catch (error) {
    for (const close of closers) await close();
    throw error;
  }
}
