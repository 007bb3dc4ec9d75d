/** An agent's key: what names a machine and what proves that it is the same one. */
import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { AGENT_PROOF_CONTEXT } from '../api/control.ts';
import { RehostError } from '../api/errors.ts';

/** Crockford's alphabet in lower case. Eighty bits of a hash: nobody finds a second key with the same id. */
const ID_ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const ID_CHARACTERS = 16;

/** An Ed25519 public key in its one SPKI DER form (RFC 8410). REQUEST_INVALID for anything else. */
export function parseAgentKey(der: Buffer): KeyObject {
  let key: KeyObject;
  try {
    key = createPublicKey({ key: der, format: 'der', type: 'spki' });
  } catch (cause) {
    throw new RehostError('REQUEST_INVALID', 'publicKey is not a public key in SPKI DER.', { cause });
  }
  // Trailing bytes or another encoding of the same key would be a second machine with the same key.
  if (key.asymmetricKeyType !== 'ed25519' || !key.export({ format: 'der', type: 'spki' }).equals(der)) {
    throw new RehostError('REQUEST_INVALID', 'publicKey is not an Ed25519 key in canonical SPKI DER.');
  }
  return key;
}

/** The machine's id, made of its key: 16 lower-case characters that may stand in paths and names. */
export function machineIdOf(publicKeyDer: Buffer): string {
  let bits = BigInt(`0x${createHash('sha256').update(publicKeyDer).digest('hex')}`);
  let id = '';
  for (let i = 0; i < ID_CHARACTERS; i++) {
    id += ID_ALPHABET[Number(bits & 31n)] ?? '';
    bits >>= 5n;
  }
  return id;
}

/** Does this signature over the context and the nonce come from the key? */
export function proofHolds(key: KeyObject, nonce: Buffer, signature: Buffer): boolean {
  return verify(null, Buffer.concat([Buffer.from(AGENT_PROOF_CONTEXT), nonce]), key, signature);
}
