/** One control channel of the agent, from the hello to its end. */
import { AGENT_METHODS, CONTROL_VERSION, ORCHESTRATOR_METHODS } from '../../appliance/api/control.ts';
import type { Inventory } from '../../appliance/api/inventory.ts';
import { type Handlers, Peer, type PeerSocket } from '../../appliance/api/peer.ts';
import type { Identity } from '../identity.ts';

/** The orchestrator writes the sighting to disk before it answers. */
const PROVE_DEADLINE_MS = 60_000;

export interface SessionParts {
  identity: Identity;
  handlers: Handlers<typeof AGENT_METHODS>;
  /** Made before the channel was opened: the orchestrator gives an agent little time to prove itself. */
  inventory: Inventory;
  /** The orchestrator knows this machine now. */
  accepted(approved: boolean): void;
}

/** Says hello, proves the key, then answers requests until the channel closes. Rejects when the orchestrator refuses this agent. */
export async function runSession(socket: PeerSocket, parts: SessionParts): Promise<void> {
  const peer = new Peer(socket, ORCHESTRATOR_METHODS, AGENT_METHODS, parts.handlers);
  const { nonce } = await peer.request('agent.hello', {
    version: CONTROL_VERSION,
    publicKey: parts.identity.publicKeyDer.toString('base64'),
    boot: 'network',
  });
  const signature = parts.identity.prove(Buffer.from(nonce, 'base64')).toString('base64');
  const proof = { signature, inventory: parts.inventory };
  const { approved } = await peer.request('agent.prove', proof, PROVE_DEADLINE_MS);
  parts.accepted(approved);
  await peer.closed;
}
