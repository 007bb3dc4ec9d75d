/**
 * An agent's first steps on its channel: hello (its key), a nonce, the signed nonce with the inventory. Until then, and after it
 * until a person approves, it gets nothing else. The nonce is used up by the first proof, right or wrong.
 */
import { type KeyObject, randomBytes } from 'node:crypto';
import type { WebSocket } from 'ws';
import { AGENT_METHODS, ORCHESTRATOR_METHODS } from '../api/control.ts';
import { RehostError } from '../api/errors.ts';
import type { Inventory } from '../api/inventory.ts';
import { type Handlers, Peer } from '../api/peer.ts';
import type { AgentPeer } from '../job/dependencies.ts';
import type { Log } from '../log.ts';
import { machineIdOf, parseAgentKey, proofHolds } from './agent-key.ts';
import type { Machines } from './machines.ts';

const NONCE_BYTES = 32;
/** From the open channel to the proof, ms. An emulated machine takes its inventory in between. */
export const PROOF_DEADLINE_MS = 30_000;
/** A machine with hundreds of disks stays below. Bytes of JSON. */
const INVENTORY_MAX_BYTES = 256 * 1024;

type Step = { at: 'new' } | { at: 'challenged'; key: KeyObject; publicKeyDer: Buffer; nonce: Buffer } | { at: 'ended' };

/** Serves an agent's channel. `address` is where it dialled from; `left` is called when it has proved itself or closed. */
export function acceptAgent(socket: WebSocket, address: string, machines: Machines, log: Log, left: () => void): void {
  let step: Step = { at: 'new' };
  const deadline = setTimeout(() => socket.terminate(), PROOF_DEADLINE_MS);

  const handlers: Handlers<typeof ORCHESTRATOR_METHODS> = {
    'agent.hello': ({ publicKey }) => {
      if (step.at !== 'new')
        throw new RehostError('PROTOCOL_VIOLATION', 'agent.hello was said on this channel already.');
      const publicKeyDer = Buffer.from(publicKey, 'base64');
      const nonce = randomBytes(NONCE_BYTES);
      step = { at: 'challenged', key: parseAgentKey(publicKeyDer), publicKeyDer, nonce };
      return { nonce: nonce.toString('base64') };
    },
    'agent.prove': async ({ signature, inventory }) => {
      if (step.at !== 'challenged')
        throw new RehostError('PROTOCOL_VIOLATION', 'There is no nonce to prove a key with.');
      const { key, publicKeyDer, nonce } = step;
      step = { at: 'ended' };
      const id = machineIdOf(publicKeyDer);
      if (!proofHolds(key, nonce, Buffer.from(signature, 'base64'))) {
        log.warn({ address, machine: id }, 'an agent could not prove its key');
        throw new RehostError('NOT_AUTHORISED', 'The signature does not fit key and nonce.', {
          next: 'Open a new channel and prove the key again.',
        });
      }
      checkSize(inventory);
      const approved = await machines.arrive({ id, publicKeyDer, address, inventory, peer });
      clearTimeout(deadline);
      left();
      log.info({ address, machine: id, approved }, 'an agent dialled in');
      void peer.closed.then(() => depart(id)).catch((error: unknown) => log.error({ error, machine: id }, 'departure'));
      return { machineId: id, approved };
    },
    'receiver.hello': () => {
      throw new RehostError('REQUEST_INVALID', 'Receivers dial in at their own path.');
    },
  };

  const peer: AgentPeer = new Peer(socket, AGENT_METHODS, ORCHESTRATOR_METHODS, handlers);
  const depart = async (id: string): Promise<void> => {
    await machines.depart(id, peer);
    log.info({ address, machine: id }, 'an agent left');
  };
  socket.once('close', () => {
    clearTimeout(deadline);
    left();
  });
}

function checkSize(inventory: Inventory): void {
  const bytes = Buffer.byteLength(JSON.stringify(inventory));
  if (bytes > INVENTORY_MAX_BYTES) {
    throw new RehostError(
      'REQUEST_TOO_LARGE',
      `The inventory has ${bytes} bytes; the limit is ${INVENTORY_MAX_BYTES}.`,
    );
  }
}
