/**
 * Everything around a job engine, in memory but for the store: a hypervisor, a source machine, transfer VMs that dial in. Every
 * call that the engine makes to the outside passes a point with a name, at which a test may fail it, cancel, or kill the engine.
 */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AGENT_METHODS, RECEIVER_METHODS } from '../../../appliance/api/control.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import type { Job, JobOrder } from '../../../appliance/api/job.ts';
import type { Handlers } from '../../../appliance/api/peer.ts';
import type { Machine } from '../../../appliance/api/rest.ts';
import type { AgentPeer, JobDependencies, ReceiverPeer } from '../../../appliance/job/dependencies.ts';
import { JobEngine } from '../../../appliance/job/engine.ts';
import { JobLog } from '../../../appliance/job/log.ts';
import { hasEnded } from '../../../appliance/job/states.ts';
import { Connections } from '../../../appliance/machine/connections.ts';
import { Store } from '../../../appliance/store/store.ts';
import { inventory } from '../../lab/orchestrator/inventory.ts';
import { joinedPeer } from '../../lab/orchestrator/loose-peer.ts';
import { MemoryHypervisor, type MemoryVm } from '../../lab/orchestrator/memory-hypervisor.ts';
import { checkEnd } from './check-end.ts';
import { KEYS, MACHINE, machine, NAME, PAUSES } from './facts.ts';
import { makeForeigners } from './foreigners.ts';
import { inOrder, type Pass, passing } from './passing.ts';
import { SourceEnd } from './source-end.ts';
import type { Fate, TransferGuest } from './transfer-guest.ts';
import { TransferGuests } from './transfer-guests.ts';

/** How many looks at a target VM its boot takes. */
const BOOT_LOOKS = 2;
/** Nobody who is still to come in these tests takes longer, ms. */
const DIAL_LIMIT_MS = PAUSES.receiverAwayMs;
const END_LIMIT_MS = 20_000;
const IDLE_MS = 30;
/** A file system in memory where there is one: what these tests ask of the store is not its disk. */
const BASE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

export type Moment = 'before' | 'after';

/** What the engine asked of the outside, in order. */
export interface Point {
  /** The call and which of its kind it is, for example `driver.createVolume 2`. */
  name: string;
  kind: string;
}

/** One life of the orchestrator: it sees nothing and changes nothing after its death. */
interface Life {
  engine: JobEngine;
  store: Store;
  dead: boolean;
  died: PromiseWithResolvers<undefined>;
  agents: Connections<AgentPeer>;
  receivers: Connections<ReceiverPeer>;
}

const never = (): Promise<never> => new Promise(() => {});

export class World {
  readonly hypervisor = new MemoryHypervisor(['default', 'lan']);
  readonly points: Point[] = [];
  readonly machines: Machine[] = [machine(MACHINE, 'web')];
  readonly source = new SourceEnd(inventory());
  readonly warnings: string[] = [];
  /** What the guest system does wrong. */
  conversion: RehostError | undefined;
  /** What befalls the copy; asked at every look at it. */
  copyFails: () => RehostError | undefined = () => undefined;
  readonly fate: Fate = {
    conversion: () => this.conversion,
    copy: () => this.copyFails(),
    badRanges: [],
    tokens: [],
    violations: this.hypervisor.violations,
  };
  boots = true;
  agentAway = false;
  /** Throws for a point that is to fail. */
  fails: (point: Point) => void = () => {};
  readonly #folder: string;
  readonly #counts = new Map<string, number>();
  readonly #plans = new Map<string, () => unknown>();
  readonly #guests = new TransferGuests(this.hypervisor, this.source, this.fate, {
    listens: () => this.#life?.dead === false,
    join: (jobId, guest) => {
      const channel = joinedPeer(RECEIVER_METHODS, this.#answering('receiver', guest.handlers()));
      this.#life?.receivers.set(jobId, channel);
    },
    drop: (jobId) => this.#life?.receivers.drop(jobId),
  });
  #life: Life | undefined;

  private constructor(folder: string) {
    this.#folder = folder;
    this.hypervisor.onStart = (vm) => this.#guests.started(vm);
    this.hypervisor.onStop = (vm) => this.#guests.stopped(vm);
    this.hypervisor.onLook = (vm) => this.#looked(vm);
  }

  static async open(): Promise<World> {
    const world = new World(await mkdtemp(join(BASE, 'rehost-engine-')));
    await mkdir(join(world.#folder, 'images', 'transfer'), { recursive: true });
    await writeFile(join(world.#folder, 'images', 'transfer', 'vmlinuz'), 'kernel');
    await writeFile(join(world.#folder, 'images', 'transfer', 'initrd'), 'initrd');
    await makeForeigners(world.hypervisor);
    await world.begin();
    return world;
  }

  async close(): Promise<void> {
    const life = this.#life;
    if (life) {
      if (!life.dead) await life.engine.stop();
      await this.#leave(life);
    }
    await rm(this.#folder, { recursive: true, force: true });
  }

  get engine(): JobEngine {
    return this.#living.engine;
  }

  /** What is on disk of a job. */
  durable(id: string): Job | undefined {
    return this.#living.store.all().find((job) => job.id === id);
  }

  jobFile(id: string, name: string): string {
    return join(this.#folder, 'jobs', id, name);
  }

  log(id: string): JobLog {
    return new JobLog(this.#folder, id, (text) => this.warnings.push(text));
  }

  /** A new orchestrator on the same state: its agent and its receivers dial in again. */
  async begin(): Promise<void> {
    const store = await Store.open(join(this.#folder, 'state'));
    const agents = new Connections<AgentPeer>('AGENT_LOST', 'agent of machine');
    const receivers = new Connections<ReceiverPeer>('TRANSFER_VM_SILENT', 'receiver of the job');
    const handle: { life?: Life } = {};
    const pass: Pass = (kind, act) => this.#pass(handle.life, kind, act);
    const engine = new JobEngine(this.#dependencies(pass, store, agents, receivers), KEYS, PAUSES);
    const life: Life = { engine, store, dead: false, died: Promise.withResolvers(), agents, receivers };
    handle.life = life;
    this.#life = life;
    this.agentDials();
    this.#guests.dial();
    await engine.start();
  }

  /** The orchestrator loses its power: nothing of it gets anywhere from here on. */
  kill(): void {
    const life = this.#living;
    life.dead = true;
    life.died.resolve(undefined);
    for (const one of this.machines) life.agents.drop(one.id);
    this.#guests.hang();
    void life.engine.stop();
  }

  get killed(): boolean {
    return this.#living.dead;
  }

  async restart(): Promise<void> {
    const life = this.#living;
    if (!life.dead) {
      await life.engine.stop();
      life.dead = true;
    }
    await this.#leave(life);
    await this.begin();
  }

  agentDials(): void {
    if (this.agentAway) return;
    for (const { id } of this.machines) {
      this.#living.agents.set(id, joinedPeer(AGENT_METHODS, this.#answering('agent', this.source.handlers())));
    }
  }

  agentLeaves(): void {
    this.agentAway = true;
    for (const { id } of this.machines) this.#living.agents.drop(id);
  }

  /** The source machine is booted into the agent again; it is approved by then. */
  agentReboots(): void {
    this.agentLeaves();
    this.source.reboot();
    this.agentAway = false;
    this.agentDials();
  }

  /** The transfer VMs of all jobs die. */
  transferVmDies(): void {
    this.#guests.die();
  }

  /** The receivers' processes are started anew in their VMs: they have the session key still, and nothing else. */
  receiverForgets(): void {
    this.#guests.forgetAll();
  }

  /** The receivers fall silent, while their VMs run on. */
  receiverHangs(): void {
    this.#guests.hang();
  }

  /** The guest of the one transfer VM that runs. */
  get guest(): TransferGuest {
    return this.#guests.only;
  }

  /** At the named point, once: before the call has any effect, or after it had it and before its answer is known. */
  at(point: string, moment: Moment, act: () => unknown): void {
    this.#plans.set(`${moment} ${point}`, act);
  }

  order(more: Partial<JobOrder> = {}): Promise<Job> {
    return this.engine.order({ machine: 'web', name: NAME, network: 'lan', ...more });
  }

  /** What the job has of its transfer VM's console. */
  console(jobId: string): string {
    return readFileSync(this.jobFile(jobId, 'transfer.console'), 'utf8');
  }

  /** Waits for the job's end, through restarts after a kill; answers what is durable. */
  async end(id: string): Promise<Job> {
    const limit = Date.now() + END_LIMIT_MS;
    for (;;) {
      if (this.killed) await this.restart();
      const job = this.durable(id);
      if (job && hasEnded(job.state) && hasEnded(this.engine.get(id).state)) return job;
      if (Date.now() > limit) throw new Error(`job ${id} does not end: ${job?.state}; ${this.warnings.join('; ')}`);
      await sleep(1);
    }
  }

  /** Waits until this holds. */
  async until(holds: () => boolean): Promise<void> {
    const limit = Date.now() + END_LIMIT_MS;
    while (!holds()) {
      const [job] = this.engine.list();
      if (Date.now() > limit)
        throw new Error(`it never holds: ${job?.state} ${JSON.stringify(job?.paused)} ${JSON.stringify(job?.error)}`);
      await sleep(1);
    }
  }

  /** Long enough for a job that does not stand still to do something. */
  async idle(ms = IDLE_MS): Promise<void> {
    await sleep(ms);
  }

  /** Resolves when the present orchestrator is killed. */
  get died(): Promise<undefined> {
    return this.#living.died.promise;
  }

  /** Orders and waits for the end; a kill before the order was durable leaves no job, and then none is answered. */
  async orderToEnd(more: Partial<JobOrder> = {}): Promise<Job | undefined> {
    const ordered = await Promise.race([this.order(more), this.#living.died.promise]);
    if (this.killed) await this.restart();
    const id = ordered?.id ?? this.engine.list()[0]?.id;
    return id === undefined ? undefined : await this.end(id);
  }

  check(job: Job): Promise<void> {
    return checkEnd(this, job);
  }

  /** Is the job's receiver still expected? */
  expects(jobId: string): boolean {
    return this.#guests.expects(jobId);
  }

  get #living(): Life {
    assert.ok(this.#life, 'no orchestrator was begun');
    return this.#life;
  }

  async #leave(life: Life): Promise<void> {
    for (const { id } of this.machines) life.agents.drop(id);
    this.#guests.hang();
    await life.store.close();
  }

  /** Every call of the engine to the outside goes through here. */
  async #pass<T>(life: Life | undefined, kind: string, act: () => Promise<T>): Promise<T> {
    if (life?.dead) return await never();
    const count = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, count);
    const point = { name: `${kind} ${count}`, kind };
    this.points.push(point);
    await this.#planned('before', point);
    if (life?.dead) return await never();
    this.fails(point);
    try {
      return await act();
    } finally {
      await this.#planned('after', point);
      if (life?.dead) await never();
    }
  }

  async #planned(moment: Moment, point: Point): Promise<void> {
    const key = `${moment} ${point.name}`;
    const act = this.#plans.get(key);
    this.#plans.delete(key);
    await act?.();
  }

  #dependencies(
    pass: Pass,
    store: Store,
    agents: Connections<AgentPeer>,
    receivers: Connections<ReceiverPeer>,
  ): JobDependencies {
    const driver = passing(this.hypervisor, pass);
    const hypervisor = {
      name: 'local',
      driver,
      pool: 'default',
      network: 'default',
      isolatedNetwork: 'rehost-isolated',
      transferNetwork: 'default',
      acceleration: 'tcg',
    } as const;
    return {
      store: inOrder(store, pass),
      machines: { find: (name) => this.#machine(name) },
      agents: {
        get: (id) => agents.get(id),
        waitFor: (id, limit, signal) => agents.waitFor(id, Math.min(limit, DIAL_LIMIT_MS), signal),
      },
      receivers: {
        expect: (jobId) => pass('receivers.expect', async () => this.#guests.expect(jobId)),
        enrolled: (jobId) => this.#guests.enrolled(jobId),
        get: (jobId) => receivers.get(jobId),
        waitFor: (jobId, limit, signal) => receivers.waitFor(jobId, Math.min(limit, DIAL_LIMIT_MS), signal),
        forget: (jobId) => pass('receivers.forget', async () => this.#guests.forget(jobId)),
      },
      hypervisors: {
        get: async (name) => {
          if (name !== undefined && name !== 'local')
            throw new RehostError('HYPERVISOR_UNKNOWN', `There is no ${name}.`);
          return hypervisor;
        },
        acceleration: async (_handle, image) => {
          await image();
          return { acceleration: 'tcg', reason: 'The configuration asks for tcg.' };
        },
      },
      imageDir: join(this.#folder, 'images'),
      stateDir: this.#folder,
      caPem: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      controlAddress: { host: '192.0.2.1', port: 4433 },
      warn: (text) => this.warnings.push(text),
      audit: async () => {},
    };
  }

  #machine(idOrName: string): Machine {
    const found = this.machines.find(({ id, name }) => id === idOrName || name === idOrName);
    if (!found) throw new RehostError('MACHINE_UNKNOWN', `There is no machine ${idOrName}.`);
    return found;
  }

  /** The far end's handlers, each of which passes a point. */
  #answering<M extends typeof AGENT_METHODS | typeof RECEIVER_METHODS>(
    end: string,
    handlers: Handlers<M>,
  ): Handlers<M> {
    const life = this.#life;
    return new Proxy(handlers, {
      get: (target, name) => {
        const handler: unknown = Reflect.get(target, name);
        if (typeof handler !== 'function') return handler;
        return (params: unknown) =>
          this.#pass(life, `${end}.${String(name)}`, async () => await Reflect.apply(handler, undefined, [params]));
      },
    });
  }

  /** A target VM that was converted says its prompt after a few looks. */
  #looked(vm: MemoryVm): void {
    if (vm.owner?.role !== 'target' || vm.state !== 'running' || vm.looks !== BOOT_LOOKS) return;
    if (!this.boots) {
      vm.state = 'crashed';
      return;
    }
    const converted = vm.disks.every(
      ({ volume }) => this.hypervisor.volumes.get(volume.name)?.content.toString() === 'converted',
    );
    for (const console of vm.consoles) console.say(converted ? '\r\nweb login: ' : 'Kernel panic - not syncing\r\n');
  }
}
