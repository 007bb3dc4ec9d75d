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
import type { DeepReadonly, StoreData, StoredMachine } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import { machineIdOf } from './agent-key.ts';
import { Connections } from './connections.ts';
import { checkDisplayName, defaultName } from './display-name.ts';
import { findMachine } from './find.ts';
import { holderToReplace, machineToContinue } from './name-holder.ts';
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
    const { id: keyId, peer } = arrival;
    const at = new Date().toISOString();
    const approved = await this.#sight(keyId, at, arrival);
    // The channel may have closed, or the machine been forgotten, while the sighting was written.
    const stored = this.#byKey(keyId);
    const id = stored?.id ?? keyId;
    if (!stored && this.#store.data.machines.some((machine) => machine.id === id)) {
      throw new RehostError('NOT_AUTHORISED', `The key of machine '${id}' was replaced when it was approved anew.`, {
        next: 'Boot the machine into the agent again and approve it.',
      });
    }
    if (approved && peer.open && stored) this.agents.set(id, peer);
    if (!approved && peer.open) {
      const gone = this.#waiting.enter(arrival, at);
      if (gone !== undefined) this.emit('change', gone);
    }
    this.emit('change', id);
    return approved;
  }

  /** An agent's channel has closed. */
  async depart(keyId: string, peer: AgentPeer): Promise<void> {
    const at = new Date().toISOString();
    const id = this.#byKey(keyId)?.id ?? keyId;
    const left = this.agents.remove(id, peer);
    if (left) await this.#sight(keyId, at);
    else if (!this.#waiting.leave(keyId, peer, at)) return;
    this.emit('change', id);
  }

  /**
   * Approves the machine whose screen shows this code: its key is pinned when this resolves. The entry of an earlier boot of the same
   * machine gives up its name and is forgotten with the same write (name-holder.ts says when); the answer's `replaced` names it. Where a job
   * works with that entry it is continued instead: it keeps its id and gets the new key, its old one is void; `continues` is then the id of the new key.
   * PAIRING_CODE_WRONG, PAIRING_LOCKED after five of them, NAME_INVALID, NAME_TAKEN, MACHINE_UNKNOWN, REQUEST_INVALID where it is approved.
   */
  async approve(idOrName: string, typed: string, name: string | undefined): Promise<ApprovedMachine> {
    const { id } = this.find(idOrName);
    const waiting = this.#waiting.get(id);
    if (!waiting) throw new RehostError('REQUEST_INVALID', `The machine '${id}' is approved already.`);
    const given = name === undefined ? undefined : checkDisplayName(name);
    const replace = (data: DeepReadonly<StoreData>, inventory: Inventory) =>
      machineToContinue(data, given, inventory, this.#online)
        ? undefined
        : holderToReplace(data, given, inventory, this.#online);
    replace(this.#store.data, waiting.inventory);
    // Counted before the slow computation, so that tries side by side do not get more than five either.
    const left = this.#waiting.countTry(id);
    const code = await pairingCode(waiting.publicKeyDer, this.#caDer);
    if (!sameCode(typed, code)) {
      const rest = left === 0 ? 'it is locked now' : `${left} more tries`;
      throw new RehostError('PAIRING_CODE_WRONG', `The code is not the one of machine '${id}' (${rest}).`);
    }
    const { approved, replaced } = await this.#store.update((draft) => {
      // Looked at again: the machine may have left or a second approval won while the code was computed.
      const present = this.#waiting.get(id);
      if (!present) throw new RehostError('MACHINE_UNKNOWN', `The machine '${id}' is not waiting any more.`);
      const before = machineToContinue(draft, given, present.inventory, this.#online);
      const holder = replace(draft, present.inventory);
      draft.machines = draft.machines.filter((stored) => stored.id !== holder?.id && stored.id !== before?.id);
      const at = new Date().toISOString();
      draft.machines.push({
        id: before?.id ?? id,
        publicKey: present.publicKeyDer.toString('base64'),
        name: before?.name ?? given ?? defaultName(present.inventory, id),
        approvedAt: at,
        firstSeenAt: before?.firstSeenAt ?? present.firstSeenAt,
        lastSeenAt: at,
        address: present.address,
        inventory: present.inventory,
      });
      return { approved: before?.id ?? id, replaced: holder?.id };
    });
    const peer = this.#waiting.remove(id)?.peer;
    // A channel that was opened since the approval became durable is the newer one.
    if (peer?.open && !this.agents.get(approved)) this.agents.set(approved, peer);
    this.emit('change', approved);
    if (approved !== id) {
      this.emit('change', id);
      return { ...this.find(approved), continues: id };
    }
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
  async #sight(keyId: string, at: string, arrival?: Arrival): Promise<boolean> {
    if (!this.#byKey(keyId)) return false;
    return await this.#store.update((draft) => {
      const stored = draft.machines.find((machine) => hasKey(machine, keyId));
      if (!stored) return false;
      stored.lastSeenAt = at;
      if (arrival) {
        stored.address = arrival.address;
        stored.inventory = arrival.inventory;
      }
      return true;
    });
  }

  /** The approved machine with the key of this id. */
  #byKey(keyId: string): DeepReadonly<StoredMachine> | undefined {
    return this.#store.data.machines.find((machine) => hasKey(machine, keyId));
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

/** A machine that was continued has the id of an earlier key. */
function hasKey({ publicKey }: DeepReadonly<StoredMachine>, keyId: string): boolean {
  return machineIdOf(Buffer.from(publicKey, 'base64')) === keyId;
}

/** In constant time, whatever was typed: both sides are hashed to one length. */
function sameCode(typed: string, code: string): boolean {
  const [a, b] = [typed, code].map((text) => createHash('sha256').update(normalisePairingCode(text)).digest());
  return a !== undefined && b !== undefined && timingSafeEqual(a, b);
}
