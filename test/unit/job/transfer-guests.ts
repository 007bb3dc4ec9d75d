/** The guests of all transfer VMs, and how they enrol: by the secret of their config disk, then by the session key that they got for it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { decodeConfigDisk } from '../../../appliance/api/config-disk.ts';
import type { MemoryHypervisor, MemoryVm } from '../../lab/orchestrator/memory-hypervisor.ts';
import type { SourceEnd } from './source-end.ts';
import { type Fate, TransferGuest } from './transfer-guest.ts';

/** The orchestrator's side of the receivers' channels. */
export interface Switchboard {
  /** Is there an orchestrator that could be dialled? */
  listens(): boolean;
  /** A receiver that has enrolled dials in. */
  join(jobId: string, guest: TransferGuest): void;
  /** Its channel breaks. */
  drop(jobId: string): void;
}

export class TransferGuests {
  readonly #guests = new Map<MemoryVm, { jobId: string; guest: TransferGuest }>();
  /** Durable, as the real ones are. */
  readonly #enrolments = new Map<string, { secret: string; sessionKey: string | undefined }>();
  readonly #hypervisor: MemoryHypervisor;
  readonly #source: SourceEnd;
  readonly #fate: Fate;
  readonly #switchboard: Switchboard;

  constructor(hypervisor: MemoryHypervisor, source: SourceEnd, fate: Fate, switchboard: Switchboard) {
    this.#hypervisor = hypervisor;
    this.#source = source;
    this.#fate = fate;
    this.#switchboard = switchboard;
  }

  /** A one-time secret for this job; an earlier one and its session are void. */
  expect(jobId: string): Buffer {
    const secret = randomBytes(32);
    this.#enrolments.set(jobId, { secret: secret.toString('base64'), sessionKey: undefined });
    this.#switchboard.drop(jobId);
    return secret;
  }

  expects(jobId: string): boolean {
    return this.#enrolments.has(jobId);
  }

  enrolled(jobId: string): boolean {
    return this.#enrolments.get(jobId)?.sessionKey !== undefined;
  }

  forget(jobId: string): void {
    this.#enrolments.delete(jobId);
    this.#switchboard.drop(jobId);
  }

  started(vm: MemoryVm): void {
    if (vm.owner?.role !== 'transfer') return;
    const guest = new TransferGuest(vm, this.#hypervisor, this.#source, this.#fate);
    this.#guests.set(vm, { jobId: vm.owner.jobId, guest });
    for (const console of vm.consoles) console.say('receiver starts\r\n');
    // A guest needs a moment to boot.
    setImmediate(() => this.#dial(vm, guest));
  }

  stopped(vm: MemoryVm): void {
    const transfer = this.#guests.get(vm);
    if (!transfer) return;
    this.#guests.delete(vm);
    this.#switchboard.drop(transfer.jobId);
  }

  /** All that run dial in: there is a new orchestrator. */
  dial(): void {
    for (const [vm, { guest }] of this.#guests) this.#dial(vm, guest);
  }

  /** Their channels break, and nobody dials again. */
  hang(): void {
    for (const { jobId } of this.#guests.values()) this.#switchboard.drop(jobId);
  }

  /** Their VMs die, as a kernel that panics does: with a last word. */
  die(): void {
    for (const vm of [...this.#guests.keys()]) {
      for (const console of vm.consoles) console.say('Kernel panic - not syncing\r\n');
      this.#hypervisor.crash(vm.name);
    }
  }

  /** Their processes are started anew: they have the session key still, and nothing else. */
  forgetAll(): void {
    for (const [vm, { jobId, guest }] of [...this.#guests]) {
      const anew = new TransferGuest(vm, this.#hypervisor, this.#source, this.#fate);
      anew.sessionKey = guest.sessionKey;
      this.#guests.set(vm, { jobId, guest: anew });
      this.#switchboard.drop(jobId);
      this.#dial(vm, anew);
    }
  }

  /** The one that runs. */
  get only(): TransferGuest {
    const [transfer] = this.#guests.values();
    assert.ok(transfer, 'no transfer VM runs');
    return transfer.guest;
  }

  #dial(vm: MemoryVm, guest: TransferGuest): void {
    if (!this.#switchboard.listens() || this.#guests.get(vm)?.guest !== guest) return;
    const content = this.#hypervisor.volumes.get(this.#hypervisor.diskOf(vm, 'rehost-config'))?.content;
    const { jobId, secret } = decodeConfigDisk(content ?? Buffer.alloc(0));
    const known = this.#enrolments.get(jobId);
    if (!known) return;
    if (known.sessionKey === undefined ? known.secret !== secret : known.sessionKey !== guest.sessionKey) return;
    guest.sessionKey ??= randomBytes(32).toString('base64');
    known.sessionKey = guest.sessionKey;
    this.#switchboard.join(jobId, guest);
  }
}
