/** Bearer tokens of the REST API and other 256-bit secrets: only their hashes are stored. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { RehostError } from '../api/errors.ts';
import type { Role } from '../api/rest.ts';

import type { Store } from './store.ts';

const SECRET_BYTES = 32;

/** 256 random bits. */
export function newSecret(): Buffer {
  return randomBytes(SECRET_BYTES);
}

/** SHA-256, hex. Enough for random secrets: there is nothing to guess, so nothing to slow down. */
export function hashSecret(secret: Uint8Array): string {
  return createHash('sha256').update(secret).digest('hex');
}

/** Compares two hex hashes in constant time. */
export function sameHash(a: string, b: string): boolean {
  const left = Buffer.from(a, 'hex');
  const right = Buffer.from(b, 'hex');
  return left.length === right.length && timingSafeEqual(left, right);
}

/** Makes a bearer token; it is returned once and stored hashed. NAME_TAKEN. `expiresAt` is ISO 8601 UTC or null. */
export async function createToken(store: Store, name: string, role: Role, expiresAt: string | null): Promise<string> {
  const secret = newSecret().toString('base64url');
  await store.update((draft) => {
    if (draft.tokens.some((token) => token.name === name)) {
      throw new RehostError('NAME_TAKEN', `There is a token named '${name}' already.`, {
        next: 'Choose another name, or revoke that token first.',
      });
    }
    const hash = hashSecret(Buffer.from(secret));
    draft.tokens.push({ name, hash, role, createdAt: new Date().toISOString(), expiresAt });
  });
  return secret;
}

/** Removes a token; requests with it are refused from now on. NOT_FOUND. */
export async function revokeToken(store: Store, name: string): Promise<void> {
  await store.update((draft) => {
    const at = draft.tokens.findIndex((token) => token.name === name);
    if (at < 0) throw new RehostError('NOT_FOUND', `There is no token named '${name}'.`);
    draft.tokens.splice(at, 1);
  });
}

/** Who shows this bearer token. NOT_AUTHORISED where it is unknown or expired at `now` (ms since the epoch). */
export function checkToken(store: Store, bearer: string, now: number): { name: string; role: Role } {
  const hash = hashSecret(Buffer.from(bearer));
  const token = store.data.tokens.find((known) => sameHash(known.hash, hash));
  if (!token) throw new RehostError('NOT_AUTHORISED', 'The bearer token is unknown.');
  if (token.expiresAt !== null && Date.parse(token.expiresAt) <= now) {
    throw new RehostError('NOT_AUTHORISED', `The bearer token '${token.name}' expired at ${token.expiresAt}.`);
  }
  return { name: token.name, role: token.role };
}
