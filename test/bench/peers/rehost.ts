/**
 * Rehost itself, each side in a process of its own, bundled as in the images. Both are started and loaded before the order;
 * their threads and the handshakes are part of the copy.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { CONNECTIONS_DEFAULT } from '../../../appliance/api/transfer.ts';
import type { TargetSpec } from '../../../receiver/target/target.ts';
import type { Contender, Errand } from '../contender.ts';
import { bundleSides } from '../sides/bundle.ts';
import type { SideReport, SinkOrder, SourceOrder } from '../sides/orders.ts';
import type { Side } from '../site.ts';
import type { SideName, Trial } from '../trial.ts';
import { startNbdkit, TUNED } from './nbdkit.ts';

const JOB = 'bench001';
const DISK = 'sda';
const TOKEN = Buffer.alloc(32, 7);

/** TLS 1.3, PSK, AES-128-GCM, the agent's hashes: what the product does. */
export const rehost: Contender = {
  id: 'rehost',
  name: `rehost, TLS, hashes, ${CONNECTIONS_DEFAULT} connections`,
  programs: [],
  copy: async (trial, errand) => {
    const sink = await startSide(trial, 'sink', errand.site.sink);
    const source = await startSide(trial, 'source', errand.site.source);
    const order = { jobId: JOB, token: TOKEN, connections: CONNECTIONS_DEFAULT };
    const { address } = errand.site.sink;
    const disks = [{ disk: DISK, sizeBytes: errand.sourceBytes, target: targetOf(errand) }];
    trial.begin();
    sink.tell({ kind: 'copy', options: { ...order, disks, listen: { host: address, port: 0 } } });
    const { port } = await sink.heard('listening');
    const served = [{ disk: DISK, path: errand.source, sizeBytes: errand.sourceBytes }];
    source.tell({ kind: 'export', options: { ...order, address, port, disks: served } });
    await Promise.race([sink.heard('done'), source.failure()]);
    trial.end();
    await sink.heard('closed');
    source.tell({ kind: 'stop' });
    await source.heard('closed');
  },
};

/** The same server and client without TLS. */
export const rehostPlain: Contender = {
  id: 'rehost',
  name: `rehost without TLS, hashes, ${CONNECTIONS_DEFAULT} connections`,
  programs: [],
  copy: async (trial, errand) => {
    const { address } = errand.site.source;
    const sink = await startSide(trial, 'sink', errand.site.sink);
    const source = await startSide(trial, 'source', errand.site.source);
    source.tell({
      kind: 'serve-plain',
      host: address,
      connections: CONNECTIONS_DEFAULT,
      disk: DISK,
      path: errand.source,
      sizeBytes: errand.sourceBytes,
    });
    const { port } = await source.heard('listening');
    trial.begin();
    await pull(sink, errand, address, port, source.failure());
    trial.end();
    await sink.heard('closed');
  },
};

/** Rehost's client at a standard server: what the client alone makes of it. */
export const rehostClient: Contender = {
  id: 'rehost-client',
  name: `nbdkit tuned -> rehost's client, no hashes from the source, ${CONNECTIONS_DEFAULT} connections`,
  programs: ['nbdkit'],
  copy: async (trial, errand) => {
    const sink = await startSide(trial, 'sink', errand.site.sink);
    const port = await startNbdkit(trial, errand, TUNED, false);
    trial.begin();
    await pull(sink, errand, errand.site.source.address, port);
    trial.end();
    await sink.heard('closed');
  },
};

async function pull(
  sink: Remote<SinkOrder>,
  errand: Errand,
  host: string,
  port: number,
  ...failures: Promise<never>[]
): Promise<void> {
  const disks = [{ disk: DISK, sizeBytes: errand.sourceBytes, target: targetOf(errand) }];
  const options = { disks, connections: CONNECTIONS_DEFAULT, server: { host, port }, security: 'none' } as const;
  sink.tell({ kind: 'pull', options });
  await Promise.race([sink.heard('done'), ...failures]);
}

function targetOf(errand: Errand): TargetSpec {
  if (errand.target === undefined) return { kind: 'null', sizeBytes: errand.sourceBytes };
  return { kind: 'device', path: errand.target };
}

/** A process of one side, as the bench speaks with it. */
class Remote<Order> {
  readonly #child: ChildProcess;
  readonly #death: Promise<never>;
  readonly #reports: SideReport[] = [];

  constructor(child: ChildProcess, death: Promise<never>) {
    this.#child = child;
    this.#death = death;
    // Whoever waits for a report gets it; at other times the end of the process is no news.
    death.catch(() => undefined);
    child.on('message', (report: SideReport) => this.#reports.push(report));
  }

  tell(order: Order & object): void {
    this.#child.send(order);
  }

  /** The report of this kind, which may have come before. Rejects when the side fails or ends instead. */
  async heard<Kind extends SideReport['kind']>(kind: Kind): Promise<Extract<SideReport, { kind: Kind }>> {
    for (;;) {
      for (const report of this.#reports) {
        if (is(report, kind)) return report;
        if (report.kind === 'failed') throw new Error(report.message);
      }
      await Promise.race([once(this.#child, 'message'), this.#death]);
    }
  }

  /** Rejects when the side fails; never resolves. */
  async failure(): Promise<never> {
    const { message } = await this.heard('failed');
    throw new Error(message);
  }
}

function is<Kind extends SideReport['kind']>(
  report: SideReport,
  kind: Kind,
): report is Extract<SideReport, { kind: Kind }> {
  return report.kind === kind;
}

/** As the images start them (iso/lib/overlay/usr/lib/rehost/boot.sh, iso/transfer/overlay/init). */
const NODE_FLAGS = { source: ['--max-semi-space-size=1'], sink: ['--max-semi-space-size=1', '--no-opt'] };

let bundles: Promise<{ source: string; sink: string }> | undefined;

function startSide(trial: Trial, name: 'sink', where: Side): Promise<Remote<SinkOrder>>;
function startSide(trial: Trial, name: 'source', where: Side): Promise<Remote<SourceOrder>>;
async function startSide(trial: Trial, name: SideName, where: Side): Promise<Remote<SinkOrder> | Remote<SourceOrder>> {
  bundles ??= bundleSides();
  const program = (await bundles)[name];
  const child = trial.start(name, where, [process.execPath, ...NODE_FLAGS[name], program], {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: { ...process.env, MALLOC_ARENA_MAX: '1' },
  });
  const remote = new Remote(child, trial.death(child));
  await remote.heard('ready');
  return remote;
}
