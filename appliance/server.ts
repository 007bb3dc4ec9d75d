/** Puts the orchestrator together and opens its servers. */
import { join } from 'node:path';
import type { FastifyBaseLogger } from 'fastify';
import { registerApi } from './api-server.ts';
import { callerOfSocket, callerOfToken } from './caller.ts';
import type { Config } from './config.ts';
import { EventHub } from './events.ts';
import { type App, makeApp } from './http.ts';
import { type Connect, Hypervisors } from './hypervisors.ts';
import type { JobDependencies } from './job/dependencies.ts';
import { JobEngine } from './job/engine.ts';
import { loadKeys } from './job/token.ts';
import { listenTcp, listenUnix } from './listen.ts';
import { type Identity, loadIdentity } from './machine/ca.ts';
import { Machines } from './machine/machines.ts';
import { Receivers } from './machine/receivers.ts';
import type { Orchestrator } from './orchestrator.ts';
import { registerControl } from './routes/control.ts';
import { AuditLog } from './store/audit.ts';
import { Store } from './store/store.ts';

/** What differs between the appliance and a test of it: how hypervisors are reached, what is offered for network boot. */
export interface Surroundings {
  connect: Connect;
  networkBoot: NetworkBoot;
  log: FastifyBaseLogger;
}

/** What is offered for network boot. */
export interface NetworkBoot {
  /** Adds the boot files' routes. */
  registerFiles(app: App, facts: NetworkBootFacts): void;
  /** Starts DHCP and TFTP where they are configured; the files are served by then. Answers how to stop them. */
  start(facts: NetworkBootFacts): Promise<() => Promise<void>>;
}

interface NetworkBootFacts {
  config: Config;
  identity: Identity;
  /** Port of the control channels. */
  port: number;
}

export interface Running {
  identity: Identity;
  port: number;
  httpPort: number;
  /** Stops in order; agents, receivers and jobs on hypervisors go on and are met again at the next start. */
  close(): Promise<void>;
}

/**
 * Starts the orchestrator. What was opened is closed again where a later step fails.
 * STORE_LOCKED, STORE_DAMAGED, LISTEN_FAILED, TOOL_FAILED, IMAGE_MISSING.
 */
export async function startOrchestrator(config: Config, surroundings: Surroundings): Promise<Running> {
  const opened: (() => Promise<void>)[] = [];
  // Every step is taken, also after one that failed; the first failure is the caller's.
  const close = async (): Promise<void> => {
    const failures: unknown[] = [];
    for (let step = opened.pop(); step; step = opened.pop()) await step().catch((error) => failures.push(error));
    if (failures.length > 0) throw failures[0];
  };
  try {
    return { ...(await start(config, surroundings, opened)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function start(
  config: Config,
  { connect, networkBoot, log }: Surroundings,
  opened: (() => Promise<void>)[],
): Promise<Omit<Running, 'close'>> {
  const store = await Store.open(config.state);
  opened.push(() => store.close());
  const audit = await AuditLog.open(join(config.state, 'audit.log'));
  opened.push(() => audit.close());
  const identity = await loadIdentity(config.state);
  const machines = new Machines(store, identity.caDer);
  const receivers = new Receivers(store, log);
  const hypervisors = new Hypervisors(config.hypervisors, connect, store);
  opened.push(() => hypervisors.close());

  // The port is the kernel's choice where 0 was asked: filled in before the engine starts.
  const controlAddress = { host: config.address, port: config.port };
  const dependencies: JobDependencies = {
    store,
    machines,
    agents: machines.agents,
    receivers,
    hypervisors,
    imageDir: config.images,
    stateDir: config.state,
    caPem: identity.caPem,
    controlAddress,
    audit: (entry) => audit.append(entry),
    warn: (text) => log.warn(text),
  };
  const jobs = new JobEngine(dependencies, await loadKeys(config.state));
  const events = new EventHub(() => [
    ...machines.list().map(({ id }) => ({ kind: 'machine' as const, id })),
    ...jobs.list().map(({ id }) => ({ kind: 'job' as const, id })),
  ]);
  machines.on('change', (id) => {
    events.publish('machine', id);
    jobs.settle(id).catch((error: unknown) => log.warn(`machine ${id} could not be let go of: ${String(error)}`));
  });
  jobs.on('change', (id) => events.publish('job', id));
  const orchestrator: Orchestrator = { store, audit, machines, receivers, jobs, hypervisors, events, log };

  const app = async (tls?: { cert: string; key: string }): Promise<App> => {
    const made = await makeApp({ log, ...(tls ? { tls } : {}) });
    opened.push(() => made.close());
    return made;
  };
  const secure = await app({ cert: identity.chainPem, key: identity.keyPem });
  registerControl(secure, orchestrator);
  await registerApi(secure, orchestrator, (request) => callerOfToken(store, request));
  await secure.ready();
  const port = await listenTcp(secure.server, config.listen, config.port);
  controlAddress.port = port;

  const local = await app();
  await registerApi(local, orchestrator, callerOfSocket);
  await local.ready();
  await listenUnix(local.server, config.socket);

  const boot = await app();
  const facts: NetworkBootFacts = { config, identity, port };
  networkBoot.registerFiles(boot, facts);
  await boot.ready();
  const httpPort = await listenTcp(boot.server, config.listen, config.httpPort);
  opened.push(await networkBoot.start(facts));

  opened.push(() => jobs.stop());
  await jobs.start();
  return { identity, port, httpPort };
}
