/** What the state file holds. Checked as a whole when it is read and before each write. */
import Type, { type Static } from 'typebox';
import { Inventory } from '../api/inventory.ts';
import { Job } from '../api/job.ts';
import { Role } from '../api/rest.ts';

const STORE_VERSION = 1;

const Sha256Hex = Type.String({ pattern: '^[0-9a-f]{64}$' });

/** An approved machine. Unapproved ones live in memory only: a stranger never causes a write. */
export const StoredMachine = Type.Object({
  id: Type.String({ pattern: '^[0-9a-z]{16}$' }),
  /** Ed25519, SPKI DER, base64: what the approval pinned. */
  publicKey: Type.String(),
  name: Type.String(),
  approvedAt: Type.String(),
  firstSeenAt: Type.String(),
  lastSeenAt: Type.String(),
  address: Type.String(),
  inventory: Inventory,
});
export type StoredMachine = Static<typeof StoredMachine>;

/** What is known of a job's receiver. Only hashes: whoever reads the file cannot enrol. */
const StoredReceiver = Type.Object({
  jobId: Type.String(),
  secretHash: Sha256Hex,
  /** Set by the first use of the secret. */
  sessionHash: Type.Union([Sha256Hex, Type.Null()]),
});

/** A bearer token of the REST API. */
const StoredToken = Type.Object({
  name: Type.String(),
  hash: Sha256Hex,
  role: Role,
  createdAt: Type.String(),
  /** ISO 8601 UTC, or null where it does not expire. */
  expiresAt: Type.Union([Type.String(), Type.Null()]),
});

/** What the proof of acceleration saw on one host. */
const StoredProbe = Type.Object({
  hostId: Type.String(),
  acceleration: Type.Union([Type.Literal('kvm'), Type.Literal('tcg')]),
  reason: Type.String(),
  at: Type.String(),
});

export const StoreData = Type.Object({
  version: Type.Literal(STORE_VERSION),
  machines: Type.Array(StoredMachine),
  jobs: Type.Array(Job),
  receivers: Type.Array(StoredReceiver),
  tokens: Type.Array(StoredToken),
  probes: Type.Array(StoredProbe),
});
export type StoreData = Static<typeof StoreData>;

/** The state of an appliance that was never used. */
export function emptyStore(): StoreData {
  return { version: STORE_VERSION, machines: [], jobs: [], receivers: [], tokens: [], probes: [] };
}

/** Read-only all the way down: what a reader of the store gets. */
export type DeepReadonly<T> = T extends (infer E)[]
  ? readonly DeepReadonly<E>[]
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;
