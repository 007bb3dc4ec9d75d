/**
 * The pairing code: what a person compares between the source machine's own screen and what the orchestrator accepts.
 *
 * It is made of the agent's public key and the CA certificate that the agent pinned. A man in the middle must show the agent
 * another CA or the orchestrator another key; either gives another code, so the typed code does not fit and nothing is approved.
 * The orchestrator never shows the code: whoever could read it there could approve without looking at the machine.
 *
 * Eight characters are 40 bits, short enough to type. scrypt makes each guess cost some 50 ms and 16 MiB, so that searching for
 * a key pair whose code collides (2^40 guesses, about 1,700 core-years) is out of reach in the minutes that a pairing takes.
 */
import { createHash, scrypt } from 'node:crypto';

/** Crockford's base32: no I, L, O, U. https://www.crockford.com/base32.html */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const CODE_CHARACTERS = 8;
const CODE_BYTES = (CODE_CHARACTERS * 5) / 8;
const SALT = 'rehost pairing code v1';
/** RFC 7914 parameters: N = 2^14, r = 8, p = 1 take 128 * N * r = 16 MiB. */
const SCRYPT = { N: 2 ** 14, r: 8, p: 1 } as const;

/**
 * The code that belongs to this key under this CA, for example `K7QF-3MWX`.
 * `publicKeyDer` is the agent's Ed25519 key as SPKI DER, `caDer` the certificate that the agent pinned, as DER.
 */
export async function pairingCode(publicKeyDer: Uint8Array, caDer: Uint8Array): Promise<string> {
  // Both parts are hashed to a fixed length first, so that no two different pairs give the same input.
  const input = Buffer.concat([sha256(publicKeyDer), sha256(caDer)]);
  const bytes = await new Promise<Buffer>((resolve, reject) => {
    scrypt(input, SALT, CODE_BYTES, SCRYPT, (error, key) => (error ? reject(error) : resolve(key)));
  });
  const code = base32(bytes);
  return `${code.slice(0, CODE_CHARACTERS / 2)}-${code.slice(CODE_CHARACTERS / 2)}`;
}

/** A typed code as it is compared: upper case, without dashes and spaces, O read as 0, I and L as 1. */
export function normalisePairingCode(typed: string): string {
  return typed.toUpperCase().replace(/[\s-]/g, '').replace(/O/g, '0').replace(/[IL]/g, '1');
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

function base32(bytes: Buffer): string {
  let bits = BigInt(`0x${bytes.toString('hex')}`);
  let text = '';
  for (let i = 0; i < CODE_CHARACTERS; i++) {
    text = (ALPHABET[Number(bits & 31n)] ?? '') + text;
    bits >>= 5n;
  }
  return text;
}
