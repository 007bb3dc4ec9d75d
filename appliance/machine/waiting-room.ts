/** Machines that dialled in, proved their key and wait for a person. In memory, and bounded: anyone on the network can add one. */
import { RehostError } from '../api/errors.ts';
import type { Inventory } from '../api/inventory.ts';
import type { Machine } from '../api/rest.ts';
import type { AgentPeer } from '../job/dependencies.ts';
import { defaultName } from './display-name.ts';
import type { Arrival } from './machines.ts';

/** More than a room full of machines that are booted at once; each costs at most INVENTORY_MAX_BYTES. */
export const WAITING_MAX = 256;
/** From one address: whoever makes up keys takes no more. Real machines behind one router that are more are approved in turn. */
export const WAITING_PER_ADDRESS = 16;
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

  /**
   * Adds it, or notes that it is back: tries are kept, so that dialling in again does not unlock. Answers the id of the machine that
   * had to go, if one had to; its channel is closed, and it may dial in again. MACHINES_TOO_MANY from one address.
   */
  enter(arrival: Arrival, at: string): string | undefined {
    this.#prune();
    const { id, publicKeyDer, address, inventory, peer } = arrival;
    const before = this.#machines.get(id);
    const gone = before?.address === address ? undefined : this.#makeRoom(address, before === undefined);
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
    return gone;
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

  /**
   * Room for one more machine from this address, which takes a new place or moves to it. One that is offline goes first; at the bound of
   * an address nobody else does, so that a flood from behind a router does not push out who waits there. When all places are taken, the
   * oldest of the address that holds most goes: whoever floods the room pushes out their own.
   */
  #makeRoom(address: string, isNew: boolean): string | undefined {
    const here = [...this.#machines].filter(([, waiting]) => waiting.address === address);
    if (here.length >= WAITING_PER_ADDRESS) {
      const [offline] = here.find(([, waiting]) => waiting.peer === undefined) ?? [];
      if (offline !== undefined) return this.#evict(offline);
      const next = "Approve or forget machines of that address ('rehost machines'); this one tries again by itself.";
      throw new RehostError('MACHINES_TOO_MANY', `${here.length} machines wait for approval at ${address} already.`, {
        next,
      });
    }
    if (!isNew || this.#machines.size < WAITING_MAX) return undefined;
    let most: [string, Waiting][] = [];
    for (const there of Map.groupBy(this.#machines, ([, waiting]) => waiting.address).values()) {
      if (there.length > most.length) most = there;
    }
    const [oldest] = most.find(([, waiting]) => waiting.peer === undefined) ?? most[0] ?? [];
    return oldest === undefined ? undefined : this.#evict(oldest);
  }

  #evict(id: string): string {
    this.remove(id)?.peer?.close();
    return id;
  }
}
