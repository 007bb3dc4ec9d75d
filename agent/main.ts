/**
 * The agent: started by its image's init, and again when it ends. Reads flags and the kernel's command line, keeps the channel
 * to the orchestrator up, and exits with 1 on any fault that it did not expect.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { AGENT_PATH } from '../appliance/api/control.ts';
import { dial, stayConnected } from '../appliance/api/dial.ts';
import { toWire } from '../appliance/api/errors.ts';
import type { Inventory } from '../appliance/api/inventory.ts';
import { ownAddresses, waitForAddress } from '../appliance/api/own-addresses.ts';
import { pairingCode } from '../appliance/api/pairing.ts';
import { CONNECTIONS_DEFAULT } from '../appliance/api/transfer.ts';
import { fetchCa, type PinnedCa } from './boot-ca.ts';
import { type BootParameters, parseBootParameters } from './boot-parameters.ts';
import { Consoles, consolePaths } from './consoles.ts';
import { agentHandlers } from './control/handlers.ts';
import { power } from './control/power.ts';
import { followProgress } from './control/progress.ts';
import { runSession } from './control/session.ts';
import { SourceJobs } from './control/source-jobs.ts';
import { loadIdentity } from './identity.ts';
import { blockDisks } from './inventory/block-devices.ts';
import { collectInventory } from './inventory/inventory.ts';
import { Screen } from './screen.ts';

/** Between attempts to get the CA, ms: the network may come up late, and this machine waits for a person anyway. */
const CA_RETRY_MS = 3_000;
/** The image's init asks for an address while this process starts; after this it is dialled without, and again, ms. */
const NETWORK_DEADLINE_MS = 15_000;
/** Time for the last words to reach slow consoles, ms. */
const LAST_WORDS_MS = 500;

const { values: flags } = parseArgs({
  options: {
    /** File with the kernel's command line. */
    cmdline: { type: 'string', default: '/proc/cmdline' },
    /** Folder, in memory, of what a restarted agent process must still know. */
    state: { type: 'string', default: '/run/rehost' },
    /** Where the screen is shown instead of the machine's consoles. */
    console: { type: 'string', multiple: true },
    /** Disks that this machine offers, instead of all whole disks. */
    disk: { type: 'string', multiple: true },
  },
});

const consoles = new Consoles(flags.console ?? consolePaths('/'));
const screen = new Screen((text) => consoles.write(text));

process.on('uncaughtException', die);
process.on('unhandledRejection', die);

const stop = new AbortController();
/** What `complain` said last. */
let complaint = '';
main().then(() => process.exit(0), die);

async function main(): Promise<void> {
  screen.line('Rehost agent: reading this machine.');
  const parameters = parseBootParameters(readFileSync(flags.cmdline, 'utf8'));
  const identity = loadIdentity(flags.state);
  await protect();
  const takeInventory = (): Promise<Inventory> =>
    collectInventory({
      root: '/',
      ...(flags.disk ? { only: flags.disk } : {}),
      log: (line) => screen.line(line),
    });
  const orchestrator = `${parameters.host}:${parameters.port}`;
  let inventory = await takeInventory();
  await waitForAddress(NETWORK_DEADLINE_MS);
  const ca = await caOf(parameters);
  screen.panel({
    product: `${inventory.vendor} ${inventory.product}`.trim(),
    serial: inventory.serial,
    addresses: ownAddresses().map(({ name, address }) => `${address} (${name})`),
    orchestrator,
    code: await pairingCode(identity.publicKeyDer, ca.der),
  });

  const jobs = new SourceJobs({
    provider: async () => (await import('./snapshot/offline.ts')).offlineProvider(disks),
    startExport: async (options) => (await import('./export/serve.ts')).startExport(options),
  });
  const handlers = agentHandlers({
    jobs,
    inventory: takeInventory,
    power: (action) => power(action, (error) => screen.error(toWire(error))),
    say: (line) => screen.line(line),
  });
  followProgress(jobs, screen, stop.signal);
  process.once('SIGTERM', () => stop.abort());
  process.once('SIGINT', () => stop.abort());
  let first = true;
  let prepared = false;
  await stayConnected({
    signal: stop.signal,
    open: async () => {
      if (!first) inventory = await takeInventory();
      first = false;
      return await dial({ host: parameters.host, port: parameters.port, path: AGENT_PATH, caPem: ca.pem });
    },
    session: (socket, established) =>
      runSession(socket, {
        identity,
        handlers,
        inventory,
        accepted: (approved) => {
          established();
          complaint = '';
          if (!prepared) prepareThreads().catch((error: unknown) => screen.error(toWire(error)));
          prepared = true;
          if (!approved) screen.remind();
          screen.line(
            approved
              ? 'Connected; this machine is approved and waits for a job.'
              : 'Connected; waiting for approval: give the pairing code above to the orchestrator.',
          );
        },
      }),
    lost: complain,
  });
}

async function prepareThreads(): Promise<void> {
  await (await import('./export/serve.ts')).prepareThreads(CONNECTIONS_DEFAULT);
}

function disks(): ReturnType<typeof blockDisks> {
  return blockDisks('/', flags.disk);
}

/** Before anything else could touch the disks. */
async function protect(): Promise<void> {
  const found = disks();
  const { protectDisks } = await import('./snapshot/read-only.ts');
  protectDisks(found);
  const names = found.map((disk) => disk.name).join(', ');
  screen.line(
    names ? `Disks are read-only from now on: ${names}.` : 'This machine has no disks that the agent can see.',
  );
}

async function caOf({ bootUrl, pin }: BootParameters): Promise<PinnedCa> {
  for (;;) {
    try {
      return await fetchCa(bootUrl, pin);
    } catch (error) {
      complain(error);
    }
    await new Promise((resolve) => setTimeout(resolve, CA_RETRY_MS));
  }
}

/** Says what stands between this machine and the orchestrator once, however often it is tried again: the code shall stay on the screen. */
function complain(error: unknown): void {
  const wire = toWire(error);
  const said = `${wire.code} ${wire.message}`;
  if (said === complaint) return;
  complaint = said;
  screen.error(wire);
  screen.line('Trying again until it works.');
}

function die(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`rehost agent: ${text}\n`);
  screen.error(toWire(error));
  setTimeout(() => process.exit(1), LAST_WORDS_MS);
}
