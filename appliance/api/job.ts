/** A job: one copy order and all it did. Stored, answered over REST, shown by every client. */
import Type, { type Static } from 'typebox';
import { JobId, StepReport } from './control.ts';
import { SourceNic } from './inventory.ts';

/** A name that a user gives: it becomes a VM's name and part of volume names, never a path or XML by joining strings. */
export const GivenName = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' });

/** Every state of a job, in the order of a job that goes well; `job/states.ts` is the table of what follows what. */
export const JOB_STATES = [
  'preflight',
  'provision',
  'start-transfer',
  'copy',
  'verify',
  'overlay',
  'convert',
  'stop-transfer',
  'define-target',
  'prove',
  'hand-over',
  'done',
  'clean-up',
  'failed',
  'cancelled',
] as const;
export const JobState = Type.Enum([...JOB_STATES]);
export type JobState = (typeof JOB_STATES)[number];

/** What a user orders. Every option that is left out takes the source's own value or the appliance's default. */
export const JobOrder = Type.Object(
  {
    machine: Type.String({ minLength: 1, maxLength: 63 }),
    name: GivenName,
    hypervisor: Type.Optional(GivenName),
    pool: Type.Optional(GivenName),
    /** Network of the target VM after the proof. */
    network: Type.Optional(GivenName),
    /** Source disks by kernel name; all of them by default. */
    disks: Type.Optional(Type.Array(Type.String({ pattern: '^[a-z0-9]{1,32}$' }), { minItems: 1, uniqueItems: true })),
    address: Type.Optional(Type.Union([Type.Literal('keep'), Type.Literal('dhcp')])),
    memoryBytes: Type.Optional(Type.Integer({ minimum: 64 * 1024 * 1024 })),
    cpus: Type.Optional(Type.Integer({ minimum: 1, maximum: 512 })),
    connections: Type.Optional(Type.Integer({ minimum: 1, maximum: 8 })),
    /** How long the target VM has to prove that it boots, ms. */
    proofDeadlineMs: Type.Optional(Type.Integer({ minimum: 10_000, maximum: 3_600_000 })),
    /** Leave the target VM running on the isolated network after the proof; else it is shut off. */
    keepRunning: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);
export type JobOrder = Static<typeof JobOrder>;

export const JobDisk = Type.Object({
  disk: Type.String(),
  sizeBytes: Type.Integer({ minimum: 0 }),
  identity: Type.Union([Type.String(), Type.Null()]),
  /** The source disk's own: a table made for one sector size cannot be read with another. */
  logicalSectorBytes: Type.Integer({ minimum: 512 }),
  /** What the volume looked like when a failed job kept it; a retry takes it only if it still does. */
  keptAs: Type.Union([Type.String(), Type.Null()]),
  replica: Type.String(),
  overlay: Type.String(),
});
export type JobDisk = Static<typeof JobDisk>;

export const Phase = Type.Object({
  state: JobState,
  startedAt: Type.String(),
  endedAt: Type.Union([Type.String(), Type.Null()]),
  detail: Type.String(),
});
export type Phase = Static<typeof Phase>;

export const Proof = Type.Object({
  kind: Type.Union([Type.Literal('login-prompt'), Type.Literal('guest-agent')]),
  /** The line that proved it. */
  evidence: Type.String(),
  seconds: Type.Number(),
  screenshot: Type.Union([Type.String(), Type.Null()]),
});
export type Proof = Static<typeof Proof>;

const StoredError = Type.Object({
  code: Type.String(),
  message: Type.String(),
  safe: Type.String(),
  next: Type.String(),
});

export const Job = Type.Object({
  id: JobId,
  order: JobOrder,
  machineId: Type.String(),
  hypervisor: Type.String(),
  pool: Type.String(),
  network: Type.String(),
  /** Network on which the target VM proves that it boots: isolated, so that it never meets the live source. */
  isolatedNetwork: Type.String(),
  state: JobState,
  createdAt: Type.String(),
  /** Set when a person asked to cancel; the engine then cleans up and ends in `cancelled`. */
  cancelRequested: Type.Boolean(),
  phases: Type.Array(Phase),
  disks: Type.Array(JobDisk),
  nics: Type.Array(SourceNic),
  firmware: Type.Union([Type.Literal('bios'), Type.Literal('uefi')]),
  cpus: Type.Integer(),
  memoryBytes: Type.Integer(),
  acceleration: Type.Union([Type.Literal('kvm'), Type.Literal('tcg'), Type.Null()]),
  /** Figures that are final: progress lives outside the store. Bytes. */
  usedBytes: Type.Union([Type.Integer(), Type.Null()]),
  wireBytes: Type.Union([Type.Integer(), Type.Null()]),
  readBytes: Type.Union([Type.Integer(), Type.Null()]),
  manifests: Type.Array(
    Type.Object({
      disk: Type.String(),
      sha256: Type.String(),
      pieces: Type.Integer(),
      bytes: Type.Integer(),
      /** Everything outside of the pieces was read in full as zeros, or by samples only. */
      holes: Type.Optional(Type.Union([Type.Literal('read'), Type.Literal('sampled')])),
    }),
  ),
  /** Every block in use was copied and re-read: from here on a retry needs no second copy. */
  replicaVerified: Type.Boolean(),
  /** Volumes that a failed job left on purpose (verified replicas), for a retry; a cancel removes them. */
  kept: Type.Array(Type.String()),
  /** The clean-up gave up: something may be left on the hypervisor, and a cancel tries again. */
  cleanUpFailed: Type.Boolean(),
  /** The source machine was away when the job let go of it: it is told when it dials in again. */
  releasePending: Type.Boolean(),
  steps: Type.Array(StepReport),
  guest: Type.Union([Type.String(), Type.Null()]),
  proof: Type.Union([Proof, Type.Null()]),
  error: Type.Union([StoredError, Type.Null()]),
  /** What preflight wants a person to know. */
  warnings: Type.Array(Type.String()),
});
export type Job = Static<typeof Job>;

/** How far the present phase is; kept in memory only. */
export const JobProgress = Type.Object({
  state: JobState,
  doneBytes: Type.Integer(),
  totalBytes: Type.Union([Type.Integer(), Type.Null()]),
  wireBytes: Type.Integer(),
  bytesPerSecond: Type.Number(),
  note: Type.String(),
});
export type JobProgress = Static<typeof JobProgress>;
