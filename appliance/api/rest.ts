/** The REST API under /api/v1: resources, requests and answers. Every route is in routes/, one file per resource. */
import Type, { type Static } from 'typebox';
import { Inventory } from './inventory.ts';
import { GivenName, Job, JobProgress } from './job.ts';

export const API_PREFIX = '/api/v1';

export const Machine = Type.Object({
  id: Type.String(),
  /** Given at the approval; until then the product's name and the end of the serial. */
  name: Type.String(),
  approved: Type.Boolean(),
  online: Type.Boolean(),
  firstSeenAt: Type.String(),
  lastSeenAt: Type.String(),
  /** Address the agent dialled from. */
  address: Type.String(),
  inventory: Inventory,
});
export type Machine = Static<typeof Machine>;

export const ApproveRequest = Type.Object(
  {
    code: Type.String({ minLength: 1, maxLength: 32 }),
    name: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
  },
  { additionalProperties: false },
);
export type ApproveRequest = Static<typeof ApproveRequest>;

/** What an approval answers. */
export const ApprovedMachine = Type.Object({
  ...Machine.properties,
  /** Id of the same machine's entry of an earlier boot, which had the name and is forgotten now. */
  replaced: Type.Optional(Type.String()),
  /** It was booted again while a job works with it: the machine keeps its id, and this is the one under which it waited for this approval. */
  continues: Type.Optional(Type.String()),
});
export type ApprovedMachine = Static<typeof ApprovedMachine>;

export const Pool = Type.Object({
  name: Type.String(),
  active: Type.Boolean(),
  capacityBytes: Type.Integer(),
  availableBytes: Type.Integer(),
});
export const Network = Type.Object({
  name: Type.String(),
  kind: Type.Union([Type.Literal('network'), Type.Literal('bridge')]),
  active: Type.Boolean(),
});
export const Hypervisor = Type.Object({
  name: Type.String(),
  uri: Type.String(),
  reachable: Type.Boolean(),
  type: Type.Union([Type.String(), Type.Null()]),
  acceleration: Type.Union([Type.Literal('kvm'), Type.Literal('tcg'), Type.Null()]),
  /** Why this acceleration: what the probe saw. */
  accelerationReason: Type.Union([Type.String(), Type.Null()]),
  pools: Type.Array(Pool),
  networks: Type.Array(Network),
  error: Type.Union([Type.String(), Type.Null()]),
});
export type Hypervisor = Static<typeof Hypervisor>;

export const JobView = Type.Object({ job: Job, progress: Type.Union([JobProgress, Type.Null()]) });
export type JobView = Static<typeof JobView>;

export const Health = Type.Object({
  ok: Type.Boolean(),
  version: Type.String(),
  machines: Type.Integer(),
  jobsRunning: Type.Integer(),
});
export type Health = Static<typeof Health>;

/** What a bearer token may do; each role may do what the ones before it may. */
export const Role = Type.Union([Type.Literal('viewer'), Type.Literal('operator'), Type.Literal('admin')]);
export type Role = Static<typeof Role>;
export const TokenRequest = Type.Object(
  {
    name: GivenName,
    role: Role,
    /** Days until it expires; never, where it is left out. */
    days: Type.Optional(Type.Integer({ minimum: 1, maximum: 3650 })),
  },
  { additionalProperties: false },
);
export type TokenRequest = Static<typeof TokenRequest>;
export const TokenView = Type.Object({
  name: Type.String(),
  role: Role,
  createdAt: Type.String(),
  expiresAt: Type.Union([Type.String(), Type.Null()]),
});
export type TokenView = Static<typeof TokenView>;
/** The token itself is shown this once; only its hash is kept. */
export const CreatedToken = Type.Object({
  name: Type.String(),
  role: Role,
  expiresAt: Type.Union([Type.String(), Type.Null()]),
  token: Type.String(),
});
export type CreatedToken = Static<typeof CreatedToken>;

/** Events of the stream at /api/v1/events (WebSocket). The cursor grows by one; a client that reconnects says the last one it saw. */
export const ApiEvent = Type.Object({
  cursor: Type.Integer(),
  at: Type.String(),
  kind: Type.Union([Type.Literal('machine'), Type.Literal('job')]),
  id: Type.String(),
});
export type ApiEvent = Static<typeof ApiEvent>;
