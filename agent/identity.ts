/** The agent's Ed25519 key: who this machine is to the orchestrator, from its approval on until it is switched off. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AGENT_PROOF_CONTEXT } from '../appliance/api/control.ts';

const FILE = 'agent.key';

export interface Identity {
  /** SPKI DER. */
  readonly publicKeyDer: Buffer;
  /** Ed25519 signature over AGENT_PROOF_CONTEXT and the nonce. */
  prove(nonce: Buffer): Buffer;
}

/**
 * The key kept in `stateDir` (mode 0600), made at the first call. In the agent's image that folder is in memory: an agent
 * process that init starts again keeps its identity and approval, the next boot does not.
 */
export function loadIdentity(stateDir: string): Identity {
  const key = readKey(stateDir) ?? makeKey(stateDir);
  const publicKeyDer = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return {
    publicKeyDer,
    prove: (nonce) => sign(null, Buffer.concat([Buffer.from(AGENT_PROOF_CONTEXT, 'utf8'), nonce]), key),
  };
}

function readKey(stateDir: string): KeyObject | undefined {
  let pem: Buffer;
  try {
    pem = readFileSync(join(stateDir, FILE));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return createPrivateKey(pem);
}

function makeKey(stateDir: string): KeyObject {
  const { privateKey } = generateKeyPairSync('ed25519');
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  // Renamed into place: a process that dies while it writes leaves no half key behind.
  const temporary = join(stateDir, `${FILE}.new`);
  writeFileSync(temporary, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  renameSync(temporary, join(stateDir, FILE));
  return privateKey;
}
