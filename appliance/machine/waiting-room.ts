/** Machines that dialled in, proved their key and wait for a person. In memory, and bounded: anyone on the network can add one. */
import { RehostError } from '../api/errors.ts';
import type { Inventory } from '../api/inventory.ts';
import type { Machine } from '../api/rest.ts';
import type { AgentPeer } from '../job/dependencies.ts';
import { defaultName } from './display-name.ts';
import type { Arrival } from './machines.ts';

/** More than a room full of machines that are booted at once; each costs at most INVENTORY_MAX_BYTES. */
export const WAITING_MAX = 256;
/** A machine that was switched off is shown for a while, so that a person sees what happened. Each boot comes with a new key. ms */
const OFFLINE_KEPT_MS = 10 * 60_000;
/** Wrong codes before a machine must be booted again. */
const CODE_TRIES = 5;

export interface Waiting {
  publicKeyDer: Buffer;
  address: string;
  inventory: Inventory;
  firstSeenAt: string;
  lastSeenAt: string;
  /** Its open channel; undefined while it is offline. */
  peer: AgentPeer | undefined;
  tries: number;
}

export class WaitingRoom {
  readonly #machines = new Map<string, Waiting>();

  /** Adds it, or notes that it is back: tries are kept, so that dialling in again does not unlock. MACHINES_TOO_MANY. */
  enter(arrival: Arrival, at: string): void {
    this.#prune();
    const { id, publicKeyDer, address, inventory, peer } = arrival;
    const before = this.#machines.get(id);
    if (!before) this.#makeRoom();
    this.#machines.set(id, {
      publicKeyDer,
      address,
      inventory,
      peer,
      firstSeenAt: before?.firstSeenAt ?? at,
      lastSeenAt: at,
      tries: before?.tries ?? 0,
    });
    if (before?.peer !== undefined && before.peer !== peer) before.peer.close();
  }

  /** Its channel has closed; false where that was not its present one. */
  leave(id: string, peer: AgentPeer, at: string): boolean {
    const waiting = this.#machines.get(id);
    if (waiting?.peer !== peer) return false;
    waiting.peer = undefined;
    waiting.lastSeenAt = at;
    return true;
  }

  get(id: string): Waiting | undefined {
    return this.#machines.get(id);
  }

  remove(id: string): Waiting | undefined {
    const waiting = this.#machines.get(id);
    this.#machines.delete(id);
    return waiting;
  }

  /** Takes one of the machine's tries; answers how many are left. PAIRING_LOCKED where there is none. */
  countTry(id: string): number {
    const waiting = this.#machines.get(id);
    if (!waiting) throw new RehostError('MACHINE_UNKNOWN', `The machine '${id}' is not waiting any more.`);
    if (waiting.tries >= CODE_TRIES) {
      throw new RehostError('PAIRING_LOCKED', `The machine '${id}' was given ${CODE_TRIES} wrong codes.`);
    }
    waiting.tries++;
    return CODE_TRIES - waiting.tries;
  }

  list(): Machine[] {
    this.#prune();
    return [...this.#machines].map(([id, { inventory, address, firstSeenAt, lastSeenAt, peer }]) => ({
      id,
      name: defaultName(inventory, id),
      approved: false,
      online: peer?.open ?? false,
      firstSeenAt,
      lastSeenAt,
      address,
      inventory: structuredClone(inventory),
    }));
  }

  #prune(): void {
    const oldest = Date.now() - OFFLINE_KEPT_MS;
    for (const [id, { peer, lastSeenAt }] of this.#machines) {
      if (peer === undefined && Date.parse(lastSeenAt) < oldest) this.#machines.delete(id);
    }
  }

  #makeRoom(): void {
    if (this.#machines.size < WAITING_MAX) return;
    // Insertion order: the first that is offline has waited longest.
    for (const [id, waiting] of this.#machines) {
      if (waiting.peer !== undefined) continue;
      this.#machines.delete(id);
      return;
    }
    throw new RehostError('MACHINES_TOO_MANY', `${WAITING_MAX} machines wait for approval already.`);
  }
}
