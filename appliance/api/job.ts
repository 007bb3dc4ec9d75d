/** A job: one copy order and all it did. Stored, answered over REST, shown by every client. */
import Type, { type Static } from 'typebox';
import { Allocation, DiskManifest, JobId, OnReadError, ReadPriority, StepReport } from './control.ts';
import { SourceNic } from './inventory.ts';
import { BANDWIDTH_MIN } from './transfer.ts';

/** A name that a user gives: it becomes a VM's name and part of volume names, never a path or XML by joining strings. */
export const GivenName = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$' });

/** Every state of a job, in the order of a job that goes well, then the others; `job/states.ts` is the table of what follows what. */
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
  'recheck',
  'recheck-end',
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
    /** `full` copies every block, also those that the file systems say are free. */
    allocation: Type.Optional(Allocation),
    onReadError: Type.Optional(OnReadError),
    /** Limit on the wire, bytes per second; may be changed while the job runs. */
    bytesPerSecond: Type.Optional(Type.Integer({ minimum: BANDWIDTH_MIN })),
    readPriority: Type.Optional(ReadPriority),
    backOff: Type.Optional(Type.Boolean()),
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

export const LastCheck = Type.Object({
  at: Type.String(),
  /** False: the replica differs from its manifest. Null: it could not be checked. */
  ok: Type.Union([Type.Boolean(), Type.Null()]),
  message: Type.String(),
});
export type LastCheck = Static<typeof LastCheck>;

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
  manifests: Type.Array(DiskManifest),
  /** Ranges that the source could not read; they read as zeros in the copy. Empty unless `onReadError` is `record`. */
  badRanges: Type.Array(Type.Object({ disk: Type.String(), offset: Type.Integer(), length: Type.Integer() })),
  /** The timestamp of the snapshot that is copied, as the agent said it; null before. */
  snapshot: Type.Union([Type.String(), Type.Null()]),
  /** Times that the copy was begun: each has a token of its own. */
  attempts: Type.Integer({ minimum: 0 }),
  /** Times in a row that it had to be begun again although nothing new had reached stable storage. */
  fruitless: Type.Integer({ minimum: 0 }),
  /** The most that was ever on stable storage, as far as it was written down, bytes. */
  flushedBytes: Type.Integer({ minimum: 0 }),
  /** Why the job stands still; null while it does not. */
  paused: Type.Union([
    Type.Object({
      /** PAUSED by a person; or what Rehost waits for: POOL_FULL, AGENT_LOST, RECEIVER_LOST, HYPERVISOR_UNREACHABLE. */
      code: Type.String(),
      message: Type.String(),
      since: Type.String(),
    }),
    Type.Null(),
  ]),
  /** A person asked to pause: it holds in every phase, and over restarts of the orchestrator. */
  pauseRequested: Type.Boolean(),
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
  /** What the last check of the replica against the manifest found; null before the first. */
  lastCheck: Type.Union([LastCheck, Type.Null()]),
  /** What a person should know. */
  warnings: Type.Array(Type.String()),
});
export type Job = Static<typeof Job>;

/** How far one disk's copy is, bytes. */
export const DiskProgress = Type.Object({
  disk: Type.String(),
  sizeBytes: Type.Integer(),
  /** Null until the source's allocation was read. */
  usedBytes: Type.Union([Type.Integer(), Type.Null()]),
  copiedBytes: Type.Integer(),
  zeroBytes: Type.Integer(),
  flushedBytes: Type.Integer(),
  resumedBytes: Type.Integer(),
  /** What the source could not read. */
  badBytes: Type.Integer(),
});
export type DiskProgress = Static<typeof DiskProgress>;

/** How far the present phase is; kept in memory only. Why it stands still is in the job's `paused`. */
export const JobProgress = Type.Object({
  state: JobState,
  doneBytes: Type.Integer(),
  totalBytes: Type.Union([Type.Integer(), Type.Null()]),
  wireBytes: Type.Integer(),
  /** Of the disk, over the last seconds: zeros and holes count as what they are on it. */
  bytesPerSecond: Type.Number(),
  /** On the wire, over the last seconds. */
  wireBytesPerSecond: Type.Number(),
  secondsLeft: Type.Union([Type.Number(), Type.Null()]),
  /** Reads that the source failed on and that were tried again. */
  retries: Type.Integer(),
  reconnects: Type.Integer(),
  disks: Type.Array(DiskProgress),
  note: Type.String(),
});
export type JobProgress = Static<typeof JobProgress>;

/** What may be changed while a job runs. What is left out stays. */
export const JobLimits = Type.Object(
  {
    /** Null takes the limit away. */
    bytesPerSecond: Type.Optional(Type.Union([Type.Integer({ minimum: BANDWIDTH_MIN }), Type.Null()])),
    readPriority: Type.Optional(ReadPriority),
    backOff: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false, minProperties: 1 },
);
export type JobLimits = Static<typeof JobLimits>;
