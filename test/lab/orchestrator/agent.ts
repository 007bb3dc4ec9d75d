/** An agent as the orchestrator sees one: real keys, real TLS with the CA pinned, the real control channel. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import {
  AGENT_METHODS,
  AGENT_PATH,
  AGENT_PROOF_CONTEXT,
  ORCHESTRATOR_METHODS,
  type ResultOf,
} from '../../../appliance/api/control.ts';
import { dial } from '../../../appliance/api/dial.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import type { Inventory } from '../../../appliance/api/inventory.ts';
import { pairingCode } from '../../../appliance/api/pairing.ts';
import { type Handlers, Peer } from '../../../appliance/api/peer.ts';
import { inventory } from './inventory.ts';

export interface Keys {
  privateKey: KeyObject;
  publicKeyDer: Buffer;
}

export type AgentChannel = Peer<typeof ORCHESTRATOR_METHODS, typeof AGENT_METHODS>;
type Proof = ResultOf<typeof ORCHESTRATOR_METHODS, 'agent.prove'>;

export function newKeys(): Keys {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { privateKey, publicKeyDer: publicKey.export({ format: 'der', type: 'spki' }) };
}

/** An open channel on which nothing was said yet. `approved` is told the machine's name when it is approved. */
export async function openChannel(
  port: number,
  caPem: string,
  facts: Inventory = inventory(),
  approved: (name: string) => void = () => {},
): Promise<AgentChannel> {
  const socket = await dial({ host: '127.0.0.1', port, path: AGENT_PATH, caPem });
  const refuse = (): never => {
    throw new RehostError('SNAPSHOT_REFUSED', 'This agent has no disks.');
  };
  const handlers: Handlers<typeof AGENT_METHODS> = {
    approved: ({ name }) => {
      approved(name);
      return {};
    },
    inventory: () => facts,
    'snapshot.create': refuse,
    'snapshot.release': () => ({}),
    'export.start': refuse,
    'export.status': refuse,
    'export.tune': refuse,
    'export.stop': () => ({}),
    power: () => ({}),
  };
  return new Peer(socket, ORCHESTRATOR_METHODS, AGENT_METHODS, handlers);
}

/** Says hello; answers the nonce. */
export async function hello(channel: AgentChannel, keys: Keys): Promise<Buffer> {
  const publicKey = keys.publicKeyDer.toString('base64');
  const { nonce } = await channel.request('agent.hello', { version: 1, publicKey, boot: 'network' });
  return Buffer.from(nonce, 'base64');
}

export function signature(keys: Keys, nonce: Buffer): string {
  return sign(null, Buffer.concat([Buffer.from(AGENT_PROOF_CONTEXT), nonce]), keys.privateKey).toString('base64');
}

/** Dials, says hello and proves the key. */
export async function enrol(
  port: number,
  caPem: string,
  keys: Keys,
  facts: Inventory = inventory(),
  approved: (name: string) => void = () => {},
): Promise<{ channel: AgentChannel; proof: Proof }> {
  const channel = await openChannel(port, caPem, facts, approved);
  const nonce = await hello(channel, keys);
  const proof = await channel.request('agent.prove', { signature: signature(keys, nonce), inventory: facts });
  return { channel, proof };
}

/** The code that this agent's screen shows. */
export function shownCode(keys: Keys, caDer: Buffer): Promise<string> {
  return pairingCode(keys.publicKeyDer, caDer);
}
