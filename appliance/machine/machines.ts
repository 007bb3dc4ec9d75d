/**
 * The machines: approved ones in the store, those that wait for approval in memory only, so that a stranger on the network
 * never causes a write. Their agents' channels are in `agents`; an unapproved agent's channel is not, so nothing is asked of it.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { RehostError } from '../api/errors.ts';
import type { Inventory } from '../api/inventory.ts';
import { normalisePairingCode, pairingCode } from '../api/pairing.ts';
import type { ApprovedMachine, Machine } from '../api/rest.ts';
import type { AgentPeer } from '../job/dependencies.ts';
import type { DeepReadonly, StoredMachine } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { Connections } from './connections.ts';
import { checkDisplayName, defaultName } from './display-name.ts';
import { findMachine } from './find.ts';
import { holderToReplace } from './name-holder.ts';
import { WaitingRoom } from './waiting-room.ts';

/** A proven connection of an agent. */
export interface Arrival {
  id: string;
  publicKeyDer: Buffer;
  /** Address it dialled from. */
  address: string;
  inventory: Inventory;
  peer: AgentPeer;
}

export class Machines extends EventEmitter<{ change: [machineId: string] }> {
  /** Channels of approved agents. */
  readonly agents = new Connections<AgentPeer>('AGENT_LOST', 'agent of the machine');
  readonly #waiting = new WaitingRoom();
  readonly #store: Store;
  readonly #online = (id: string): boolean => this.agents.get(id) !== undefined;
  readonly #caDer: Buffer;

  constructor(store: Store, caDer: Buffer) {
    super();
    this.#store = store;
    this.#caDer = caDer;
  }

  /** All machines, approved ones first, each in the order of their first contact. */
  list(): Machine[] {
    return [...this.#store.data.machines.map((stored) => this.#view(stored)), ...this.#waiting.list()];
  }

  /** By id, name or unique beginning of an id. MACHINE_UNKNOWN, also where the name fits several. */
  find(idOrName: string): Machine {
    return findMachine(this.list(), idOrName);
  }

  /** An agent has proved its key. Answers whether the machine is approved; for one that is, the sighting is durable. MACHINES_TOO_MANY. */
  async arrive(arrival: Arrival): Promise<boolean> {
    const { id, peer } = arrival;
    const at = new Date().toISOString();
    const approved = await this.#sight(id, at, arrival);
    // The channel may have closed, or the machine been forgotten, while the sighting was written.
    if (approved && peer.open && this.#stored(id)) this.agents.set(id, peer);
    if (!approved && peer.open) {
      const gone = this.#waiting.enter(arrival, at);
      if (gone !== undefined) this.emit('change', gone);
    }
    this.emit('change', id);
    return approved;
  }

  /** An agent's channel has closed. */
  async depart(id: string, peer: AgentPeer): Promise<void> {
    const at = new Date().toISOString();
    const left = this.agents.remove(id, peer);
    if (left) await this.#sight(id, at);
    else if (!this.#waiting.leave(id, peer, at)) return;
    this.emit('change', id);
  }

  /**
   * Approves the machine whose screen shows this code: its key is pinned when this resolves. The entry of an earlier boot of the same
   * machine gives up its name and is forgotten with the same write (name-holder.ts says when); the answer's `replaced` names it.
   * PAIRING_CODE_WRONG, PAIRING_LOCKED after five of them, NAME_INVALID, NAME_TAKEN, MACHINE_UNKNOWN, REQUEST_INVALID where it is approved.
   */
  async approve(idOrName: string, typed: string, name: string | undefined): Promise<ApprovedMachine> {
    const { id } = this.find(idOrName);
    const waiting = this.#waiting.get(id);
    if (!waiting) throw new RehostError('REQUEST_INVALID', `The machine '${id}' is approved already.`);
    const given = name === undefined ? undefined : checkDisplayName(name);
    holderToReplace(this.#store.data, given, waiting.inventory, this.#online);
    // Counted before the slow computation, so that tries side by side do not get more than five either.
    const left = this.#waiting.countTry(id);
    const code = await pairingCode(waiting.publicKeyDer, this.#caDer);
    if (!sameCode(typed, code)) {
      const rest = left === 0 ? 'it is locked now' : `${left} more tries`;
      throw new RehostError('PAIRING_CODE_WRONG', `The code is not the one of machine '${id}' (${rest}).`);
    }
    const replaced = await this.#store.update((draft) => {
      // Looked at again: the machine may have left or a second approval won while the code was computed.
      const present = this.#waiting.get(id);
      if (!present) throw new RehostError('MACHINE_UNKNOWN', `The machine '${id}' is not waiting any more.`);
      const holder = holderToReplace(draft, given, present.inventory, this.#online);
      draft.machines = draft.machines.filter((stored) => stored.id !== holder?.id);
      const at = new Date().toISOString();
      draft.machines.push({
        id,
        publicKey: present.publicKeyDer.toString('base64'),
        name: given ?? defaultName(present.inventory, id),
        approvedAt: at,
        firstSeenAt: present.firstSeenAt,
        lastSeenAt: at,
        address: present.address,
        inventory: present.inventory,
      });
      return holder?.id;
    });
    const peer = this.#waiting.remove(id)?.peer;
    // A channel that was opened since the approval became durable is the newer one.
    if (peer?.open && !this.agents.get(id)) this.agents.set(id, peer);
    this.emit('change', id);
    if (replaced === undefined) return this.find(id);
    // It may have dialled in while this was written: it waits for approval like any other from now on.
    this.agents.drop(replaced);
    this.emit('change', replaced);
    return { ...this.find(id), replaced };
  }

  /** Takes the approval back; its channel is closed. It may dial in again and waits for approval then. MACHINE_UNKNOWN. */
  async forget(idOrName: string): Promise<Machine> {
    const machine = this.find(idOrName);
    if (machine.approved) {
      await this.#store.update((draft) => {
        draft.machines = draft.machines.filter((stored) => stored.id !== machine.id);
      });
    }
    this.agents.drop(machine.id);
    this.#waiting.remove(machine.id)?.peer?.close();
    this.emit('change', machine.id);
    return machine;
  }

  /** Writes when and, on arrival, as what an approved machine was seen; false where it is not approved. */
  async #sight(id: string, at: string, arrival?: Arrival): Promise<boolean> {
    if (!this.#stored(id)) return false;
    return await this.#store.update((draft) => {
      const stored = draft.machines.find((machine) => machine.id === id);
      if (!stored) return false;
      stored.lastSeenAt = at;
      if (arrival) {
        stored.address = arrival.address;
        stored.inventory = arrival.inventory;
      }
      return true;
    });
  }

  #stored(id: string): DeepReadonly<StoredMachine> | undefined {
    return this.#store.data.machines.find((machine) => machine.id === id);
  }

  #view(stored: DeepReadonly<StoredMachine>): Machine {
    const { id, name, firstSeenAt, lastSeenAt, address, inventory } = stored;
    const online = this.#online(id);
    return {
      ...structuredClone({ id, name, firstSeenAt, lastSeenAt, address, inventory: inventory as Inventory }),
      approved: true,
      online,
    };
  }
}

/** In constant time, whatever was typed: both sides are hashed to one length. */
function sameCode(typed: string, code: string): boolean {
  const [a, b] = [typed, code].map((text) => createHash('sha256').update(normalisePairingCode(text)).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}
