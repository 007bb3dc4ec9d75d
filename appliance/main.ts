/** `rehostd`: the orchestrator's daemon. */
import { toWire } from './api/errors.ts';
import { flagsHelp, readConfig } from './flags.ts';
import { makeLog } from './http.ts';
import { connect } from './hypervisor/select.ts';
import { checkImages } from './images.ts';
import { networkBoot } from './network-boot.ts';
import { type Running, startOrchestrator } from './server.ts';
import { VERSION } from './version.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** A stop that takes longer is ended by force: everything durable is durable already, and the next start goes on from it. ms */
const STOP_DEADLINE_MS = 30_000;

/** One clear error for a person, and no more. */
function complain(error: unknown): void {
  const { code, message, safe, next } = toWire(error);
  process.stderr.write(`rehostd: ${code}: ${message}\n  safe: ${safe}\n  next: ${next}\n`);
}

async function main(): Promise<void> {
  const { config, asked } = await readConfig(process.argv.slice(2), process.env);
  if (asked !== undefined) {
    process.stdout.write(`${asked === 'help' ? flagsHelp() : VERSION}\n`);
    return;
  }
  await checkImages(config);
  const log = makeLog(process.stderr);
  const running = await startOrchestrator(config, { connect, networkBoot: networkBoot(log), log });
  const { port, httpPort, identity } = running;
  log.info({ version: VERSION, port, httpPort, socket: config.socket, pin: identity.pin }, 'rehostd runs');

  let stopping = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      // A second signal means it.
      if (stopping) process.exit(EXIT_FAILED);
      stopping = true;
      log.info({ signal }, 'rehostd stops');
      void stop(running);
    });
  }
}

async function stop(running: Running): Promise<void> {
  const deadline = setTimeout(() => {
    process.stderr.write(`rehostd: it did not stop within ${STOP_DEADLINE_MS} ms and is ended.\n`);
    process.exit(EXIT_FAILED);
  }, STOP_DEADLINE_MS);
  try {
    await running.close();
  } catch (error) {
    complain(error);
    process.exitCode = EXIT_FAILED;
  }
  clearTimeout(deadline);
}

try {
  await main();
} catch (error) {
  complain(error);
  process.exitCode = toWire(error).code === 'CONFIG_INVALID' ? EXIT_USAGE : EXIT_FAILED;
}
