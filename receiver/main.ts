/**
 * The receiver: started by the transfer image's init, and again when it ends. Reads flags and its config disk, keeps the channel
 * to the orchestrator up, and exits with 1 on any fault that it did not expect. What it says goes to the VM's console.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type ConfigDisk, decodeConfigDisk } from '../appliance/api/config-disk.ts';
import { RECEIVER_PATH } from '../appliance/api/control.ts';
import { dial, stayConnected } from '../appliance/api/dial.ts';
import { RehostError, toWire } from '../appliance/api/errors.ts';
import { ownAddresses, waitForAddress } from '../appliance/api/own-addresses.ts';
import { CONNECTIONS_DEFAULT } from '../appliance/api/transfer.ts';
import { type FindDisk, findBySerial } from './block-serials.ts';
import { readConfigDisk } from './config-disk.ts';
import { ConvertJob } from './control/convert-job.ts';
import { CopyJob } from './control/copy-job.ts';
import { receiverHandlers } from './control/handlers.ts';
import { runSession } from './control/session.ts';
import { SessionKey } from './session-key.ts';

const { values: flags } = parseArgs({
  options: {
    /** File with the content of the config disk, instead of the disk itself. */
    config: { type: 'string' },
    /** Folder, in memory, of what a restarted receiver process must still know. */
    state: { type: 'string', default: '/run/rehost' },
    /** SERIAL=FILE: where the disk with this serial is, instead of among this VM's disks. */
    disk: { type: 'string', multiple: true },
    /** Address that the agent is told to dial, instead of this VM's own ones. */
    address: { type: 'string', multiple: true },
  },
});

/** The image's init asks for an address while this process starts; after this it is dialled without, and again, ms. */
const NETWORK_DEADLINE_MS = 15_000;
/** Time for the last words to reach a slow console, ms. */
const LAST_WORDS_MS = 500;

// Without a console the work goes on.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);

const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
process.once('SIGINT', () => stop.abort());
process.on('uncaughtException', die);
process.on('unhandledRejection', die);
main().then(() => process.exit(0), die);

async function main(): Promise<void> {
  const find = finder();
  const config = await readConfig(find);
  const { jobId, orchestrator, caPem } = config;
  log(`job ${jobId}, orchestrator ${orchestrator.host} port ${orchestrator.port}`);
  const copy = new CopyJob({
    find,
    log,
    listenPort: config.transferListen ?? 0,
    startCopy: async (options) => (await import('./copy/copy.ts')).startCopy(options),
    startVerify: async (disks, options) => (await import('./copy/verify.ts')).startVerify(disks, options),
    recordedDisks: async (...order) => (await import('./copy/recorded.ts')).recordedDisks(...order),
    readJournal: async (...order) => (await import('./copy/recorded.ts')).journalPart(...order),
  });
  const convert = new ConvertJob({
    find,
    log,
    convert: async (request) => {
      // Their memory is the converter's programs'.
      await (await import('./copy/thread.ts')).dropThreads();
      return await (await import('./convert/convert.ts')).convertGuest(request);
    },
  });
  const key = new SessionKey(flags.state, config.secret);
  const addresses = (): string[] => flags.address ?? ownAddresses().map(({ address }) => address);
  const handlers = receiverHandlers({ jobId, copy, convert, addresses });
  let said = '';
  let prepared = false;
  await waitForAddress(NETWORK_DEADLINE_MS);
  await stayConnected({
    signal: stop.signal,
    open: () => dial({ ...orchestrator, path: RECEIVER_PATH, caPem }),
    session: (socket, established) =>
      runSession(socket, {
        jobId,
        key,
        handlers,
        accepted: () => {
          established();
          said = '';
          log('connected to the orchestrator');
          if (!prepared)
            prepareThreads().catch((error: unknown) => log(`threads are not loaded yet: ${String(error)}`));
          prepared = true;
        },
      }),
    lost: (error) => {
      const { code, message } = toWire(error);
      if (message !== said) log(`${code} ${message} Trying again.`);
      said = message;
    },
  });
  await convert.stop();
  await copy.stop();
}

async function readConfig(find: FindDisk): Promise<ConfigDisk> {
  return flags.config === undefined ? await readConfigDisk(find) : decodeConfigDisk(readFileSync(flags.config));
}

async function prepareThreads(): Promise<void> {
  await (await import('./copy/thread.ts')).prepareThreads(CONNECTIONS_DEFAULT);
}

function finder(): FindDisk {
  if (!flags.disk) return findBySerial;
  const paths = new Map<string, string>();
  for (const word of flags.disk) {
    const [serial, path] = word.split('=');
    if (!serial || !path) throw new RehostError('REQUEST_INVALID', `--disk '${word}' is not SERIAL=FILE.`);
    paths.set(serial, path);
  }
  return (serial) => {
    const path = paths.get(serial);
    return path === undefined ? undefined : { path };
  };
}

function log(line: string): void {
  // Text from the guest and from outside may carry anything; a console gets one line of printable characters.
  process.stdout.write(`receiver: ${line.replaceAll(/[^\x20-\x7e]+/g, ' ')}\n`);
}

function die(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`rehost receiver: ${text}\n`, () => process.exit(1));
  setTimeout(() => process.exit(1), LAST_WORDS_MS);
}
