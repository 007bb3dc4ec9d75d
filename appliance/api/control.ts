/**
 * The control channel: JSON frames over WebSocket (TLS, the orchestrator's CA pinned), checked on both sides.
 * Agents and receivers dial in, say hello, prove who they are, and then answer requests. Every request carries an id and a
 * deadline. Requests are idempotent: `*.start` with the same job attaches to what runs already, so that an orchestrator
 * that was killed goes on by asking again.
 */
import Type, { type Static, type TSchema } from 'typebox';
import { Inventory } from './inventory.ts';
import { BANDWIDTH_MIN } from './transfer.ts';

export const CONTROL_VERSION = 1;
/** Where agents and receivers dial in. */
export const AGENT_PATH = '/control/agent';
export const RECEIVER_PATH = '/control/receiver';

/** Job ids are made by the orchestrator: lower-case letters and digits, so that they can stand in object names. */
export const JobId = Type.String({ pattern: '^[a-z0-9]{6,24}$' });
const Base64 = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', maxLength: 4096 });
const Bytes = Type.Integer({ minimum: 0 });
const DiskName = Type.String({ pattern: '^[a-z0-9]{1,32}$' });

const WireErrorSchema = Type.Object({
  code: Type.String(),
  message: Type.String(),
  safe: Type.String(),
  next: Type.String(),
});

export const RequestFrame = Type.Object({
  type: Type.Literal('request'),
  id: Type.Integer({ minimum: 1 }),
  method: Type.String({ maxLength: 64 }),
  /** The asker stops waiting after this, ms. */
  deadlineMs: Type.Integer({ minimum: 1, maximum: 600_000 }),
  params: Type.Unknown(),
});
export const ResponseFrame = Type.Object({
  type: Type.Literal('response'),
  id: Type.Integer({ minimum: 1 }),
  result: Type.Unknown(),
});
export const ErrorFrame = Type.Object({
  type: Type.Literal('error'),
  id: Type.Integer({ minimum: 1 }),
  error: WireErrorSchema,
});
export const Frame = Type.Union([RequestFrame, ResponseFrame, ErrorFrame]);
export type Frame = Static<typeof Frame>;

/** One method: what is asked and what is answered. */
export interface MethodSchema {
  readonly params: TSchema;
  readonly result: TSchema;
}

const MaybeError = Type.Union([WireErrorSchema, Type.Null()]);

const Empty = Type.Object({});

/** `used` skips what the file systems say is free; `full` reads everything. */
export const Allocation = Type.Union([Type.Literal('used'), Type.Literal('full')]);
export type Allocation = Static<typeof Allocation>;
/** Priority of the source's reads among its other I/O, as ioprio_set(2): best effort, best effort's lowest, idle. */
export const ReadPriority = Type.Union([Type.Literal('normal'), Type.Literal('low'), Type.Literal('idle')]);
export type ReadPriority = Static<typeof ReadPriority>;
/** What becomes of a range that the source cannot read: the copy fails, or it is recorded and reads as zeros in the copy. */
export const OnReadError = Type.Union([Type.Literal('fail'), Type.Literal('record')]);
export type OnReadError = Static<typeof OnReadError>;
/** How the source is read; all of it may be changed while it runs. */
export const ReadManners = Type.Object({
  readPriority: Type.Optional(ReadPriority),
  /** Reads pause when the disk's own latency rises to several times what it was at first: somebody else needs it. */
  backOff: Type.Optional(Type.Boolean()),
});
export type ReadManners = Static<typeof ReadManners>;

/** Answered by the orchestrator, asked by agents and receivers. */
export const ORCHESTRATOR_METHODS = {
  /** First request of an agent. The nonce comes back signed in `agent.prove`. */
  'agent.hello': {
    params: Type.Object({
      version: Type.Literal(CONTROL_VERSION),
      /** Ed25519 public key, SPKI DER, base64; made at the agent's start, pinned by the approval. */
      publicKey: Base64,
      /** How it came to run. */
      boot: Type.Union([Type.Literal('network'), Type.Literal('usb'), Type.Literal('installed')]),
    }),
    result: Type.Object({ nonce: Base64 }),
  },
  /** Second: the Ed25519 signature over AGENT_PROOF_CONTEXT and the nonce, and the inventory. */
  'agent.prove': {
    params: Type.Object({ signature: Base64, inventory: Inventory }),
    result: Type.Object({ machineId: Type.String(), approved: Type.Boolean() }),
  },
  /** The only request of a receiver before it serves: the one-time secret of its config disk. A reconnect shows the session key instead. */
  'receiver.hello': {
    params: Type.Object({
      version: Type.Literal(CONTROL_VERSION),
      jobId: JobId,
      /** The one-time enrolment secret, base64 (first contact), or the session key that its use returned (reconnect). */
      secret: Base64,
    }),
    result: Type.Object({ sessionKey: Base64 }),
  },
} as const satisfies Record<string, MethodSchema>;

/** Bytes that precede the nonce in what an agent signs. */
export const AGENT_PROOF_CONTEXT = 'rehost agent proof v1\n';

/** What an export of the agent is and how far it is. */
export const ExportState = Type.Object({
  disk: DiskName,
  sizeBytes: Bytes,
  /** Bytes read from the source disk for this export. */
  readBytes: Bytes,
});

/** Answered by agents. */
export const AGENT_METHODS = {
  /** A person has approved this machine, under this name. Said once, to the channel that was open: `agent.prove` answers it otherwise. */
  approved: { params: Type.Object({ name: Type.String({ maxLength: 256 }) }), result: Empty },
  /** The inventory, made anew. */
  inventory: { params: Empty, result: Inventory },
  /**
   * Takes a snapshot of all named disks, consistent over all of them. The same job id answers the same snapshot. A kernel names disks as
   * it finds them: where `identities` has a disk's earlier identity, it is looked for under other names too, and keeps the job's.
   */
  'snapshot.create': {
    params: Type.Object({
      jobId: JobId,
      disks: Type.Array(DiskName, { minItems: 1 }),
      identities: Type.Optional(
        Type.Record(DiskName, Type.Object({ sizeBytes: Bytes, identity: Type.String({ pattern: '^[0-9a-f]{64}$' }) })),
      ),
    }),
    result: Type.Object({
      provider: Type.String(),
      /** The instant, ISO 8601 UTC. */
      timestamp: Type.String(),
      disks: Type.Array(
        Type.Object({
          disk: DiskName,
          /** Where the kernel has it now; agents of the first version do not say it. */
          path: Type.Optional(Type.String({ maxLength: 256 })),
          sizeBytes: Bytes,
          /**
           * SHA-256, hex, over serial, size, the disk's first and last MiB and the first 128 KiB of every partition (partition
           * table, superblocks): a disk that was replaced, resized or written to by its own system meanwhile has another one.
           */
          identity: Type.String({ pattern: '^[0-9a-f]{64}$' }),
        }),
        { minItems: 1 },
      ),
    }),
  },
  'snapshot.release': { params: Type.Object({ jobId: JobId }), result: Empty },
  /**
   * Dials the receiver and serves the job's snapshot over these connections until `export.stop`, dialling again when one breaks.
   * Export names are the disk names. The token is used by one export only: a second start with it after a stop is TOKEN_SPENT.
   */
  'export.start': {
    params: Type.Object({
      jobId: JobId,
      address: Type.String({ maxLength: 255 }),
      port: Type.Integer({ minimum: 1, maximum: 65535 }),
      /** 256 bits, base64. */
      token: Base64,
      connections: Type.Integer({ minimum: 1, maximum: 8 }),
      allocation: Type.Optional(Allocation),
      manners: Type.Optional(ReadManners),
    }),
    result: Empty,
  },
  /** Changes how the source is read, from the next read on. JOB_UNKNOWN. */
  'export.tune': { params: Type.Object({ jobId: JobId, manners: ReadManners }), result: Empty },
  'export.status': {
    params: Type.Object({ jobId: JobId }),
    result: Type.Object({
      running: Type.Boolean(),
      connections: Type.Integer({ minimum: 0 }),
      /** Bytes that went over the wire on all data connections, TLS included where it can be counted. */
      wireBytes: Bytes,
      exports: Type.Array(ExportState),
      /** The last failure to dial or serve, if it stands. */
      error: Type.Union([WireErrorSchema, Type.Null()]),
    }),
  },
  'export.stop': { params: Type.Object({ jobId: JobId }), result: Empty },
  /** Ends the source machine's network boot: reboots it into its own disk, or switches it off. */
  power: { params: Type.Object({ action: Type.Union([Type.Literal('reboot'), Type.Literal('off')]) }), result: Empty },
} as const satisfies Record<string, MethodSchema>;

/** Running, finished or failed: one shape for the receiver's long operations. */
const Progress = Type.Union([
  Type.Literal('idle'),
  Type.Literal('running'),
  Type.Literal('done'),
  Type.Literal('failed'),
]);

/** One disk's manifest in short. */
export const DiskManifest = Type.Object({
  disk: DiskName,
  /** SHA-256, hex, over the disk's list in the journal: 16 bytes for each block of BLOCK_BYTES, its XXH3-128, or zeros for a block of which nothing is in use. */
  sha256: Type.String(),
  /** Blocks with a hash. */
  blocks: Bytes,
  /** What these blocks cover, bytes. */
  bytes: Bytes,
  /** How it was checked that everything outside of these blocks is zero: read in full, or by samples. */
  holes: Type.Union([Type.Literal('read'), Type.Literal('sampled')]),
});
export type DiskManifest = Static<typeof DiskManifest>;

/** Why a copy stands still without having failed; null while it does not. */
export const CopyPause = Type.Union([
  Type.Object({
    /** PAUSED: it was asked for. POOL_FULL: the storage has no room; it is tried again by itself. */
    code: Type.Union([Type.Literal('PAUSED'), Type.Literal('POOL_FULL')]),
    message: Type.String(),
  }),
  Type.Null(),
]);
export type CopyPause = Static<typeof CopyPause>;

export const CopyDisk = Type.Object({
  /** NBD export name on the agent: the source disk's name. */
  disk: DiskName,
  /** Serial of the replica in the transfer VM. */
  serial: Type.String({ maxLength: 36 }),
  sizeBytes: Bytes,
  /** As the agent's snapshot says it: a journal of another disk is refused (SOURCE_CHANGED). */
  identity: Type.Optional(Type.String({ maxLength: 128 })),
});
export type CopyDisk = Static<typeof CopyDisk>;

export const CopyDiskState = Type.Object({
  disk: DiskName,
  sizeBytes: Bytes,
  /** Bytes in use on the source by its allocation map; null until the map is known. */
  usedBytes: Type.Union([Bytes, Type.Null()]),
  /** Bytes of the used ranges that arrived (as data or as zeros) and were written. */
  copiedBytes: Bytes,
  /** Bytes of zeros found inside used ranges: not sent. */
  zeroBytes: Bytes,
  /** Bytes covered by the last flush that succeeded, and recorded in the journal where there is one. */
  flushedBytes: Bytes,
  /** Of `copiedBytes`: those that an earlier attempt had copied and recorded. */
  resumedBytes: Bytes,
  /** Ranges that the source could not read; they read as zeros in the copy. In order, at most BAD_RANGES_MAX. */
  badRanges: Type.Array(Type.Object({ offset: Bytes, length: Bytes })),
});
export type CopyDiskState = Static<typeof CopyDiskState>;

export const ConvertOptions = Type.Object({
  /** `keep` leaves the guest's addresses; `dhcp` makes every NIC ask for one, the old file kept beside. */
  network: Type.Union([Type.Literal('keep'), Type.Literal('dhcp')]),
  /** NICs as the source had them and as the target will: the name is pinned to the MAC. `pathNames` as in SourceNic. */
  nics: Type.Array(
    Type.Object({ name: Type.String(), pathNames: Type.Optional(Type.Array(Type.String())), mac: Type.String() }),
  ),
  firmware: Type.Union([Type.Literal('bios'), Type.Literal('uefi')]),
});
export type ConvertOptions = Static<typeof ConvertOptions>;

/** A line of the job's report: one conversion step. */
export const StepReport = Type.Object({
  step: Type.String(),
  outcome: Type.Union([
    Type.Literal('changed'),
    Type.Literal('unchanged'),
    Type.Literal('not-applicable'),
    Type.Literal('failed'),
  ]),
  /** One sentence for a person. */
  detail: Type.String(),
  seconds: Type.Number({ minimum: 0 }),
});
export type StepReport = Static<typeof StepReport>;

/** Answered by receivers. */
export const RECEIVER_METHODS = {
  /** Listens for the agent and copies. Answers the port as soon as it listens. */
  'copy.start': {
    params: Type.Object({
      jobId: JobId,
      token: Base64,
      connections: Type.Integer({ minimum: 1, maximum: 8 }),
      disks: Type.Array(CopyDisk, { minItems: 1 }),
      /** Serial of the journal; what it has recorded is not copied again. */
      journal: Type.Optional(Type.String({ maxLength: 36 })),
      /** The snapshot's timestamp: what the journal has of another one is compared with the source before it is believed. */
      snapshot: Type.Optional(Type.String({ maxLength: 64 })),
      onReadError: Type.Optional(OnReadError),
      /** Bytes per second on the wire, over all connections; null or absent: no limit. */
      bytesPerSecond: Type.Optional(Type.Union([Type.Integer({ minimum: BANDWIDTH_MIN }), Type.Null()])),
      /** Begins paused. */
      paused: Type.Optional(Type.Boolean()),
    }),
    result: Type.Object({
      /** Addresses of the transfer VM that the agent may dial, global ones first. */
      addresses: Type.Array(Type.String()),
      port: Type.Integer({ minimum: 1, maximum: 65535 }),
    }),
  },
  'copy.status': {
    params: Type.Object({ jobId: JobId }),
    result: Type.Object({
      progress: Progress,
      disks: Type.Array(CopyDiskState),
      /** Bytes received on the data connections, TLS records included. */
      wireBytes: Bytes,
      reconnects: Bytes,
      /** Reads that the source failed on and that were tried again. */
      retries: Bytes,
      paused: CopyPause,
      error: MaybeError,
    }),
  },
  /** Changes the bandwidth limit of a copy, or pauses and resumes copy and verification. What is left out stays. */
  'copy.tune': {
    params: Type.Object({
      jobId: JobId,
      bytesPerSecond: Type.Optional(Type.Union([Type.Integer({ minimum: BANDWIDTH_MIN }), Type.Null()])),
      paused: Type.Optional(Type.Boolean()),
    }),
    result: Empty,
  },
  /** Re-reads the replicas with caches dropped and compares with the agent's hashes. Only after a copy that is done. */
  'verify.start': { params: Type.Object({ jobId: JobId }), result: Empty },
  /**
   * The same without a copy, in a transfer VM of its own: re-reads the replicas and compares with the journal, which holds the
   * manifest of the copy that made them. `verify.status` tells how far it is.
   */
  'verify.replica': {
    params: Type.Object({
      jobId: JobId,
      disks: Type.Array(CopyDisk, { minItems: 1 }),
      journal: Type.String({ maxLength: 36 }),
    }),
    result: Empty,
  },
  'verify.status': {
    params: Type.Object({ jobId: JobId }),
    result: Type.Object({
      progress: Progress,
      checkedBytes: Bytes,
      totalBytes: Bytes,
      manifests: Type.Array(DiskManifest),
      error: MaybeError,
    }),
  },
  /** After a copy that is done: part of the journal from a byte offset on (appliance/api/journal.ts); empty at its end. It is the manifest. */
  'verify.journal': {
    params: Type.Object({ jobId: JobId, offset: Bytes }),
    result: Type.Object({ data: Type.String({ contentEncoding: 'base64', maxLength: 1024 * 1024 }) }),
  },
  /** Closes the replicas, so that they can be detached. */
  'copy.release': { params: Type.Object({ jobId: JobId }), result: Empty },
  /** Converts the guest on the overlays. */
  'convert.start': {
    params: Type.Object({
      jobId: JobId,
      disks: Type.Array(Type.Object({ disk: DiskName, serial: Type.String({ maxLength: 36 }) }), { minItems: 1 }),
      options: ConvertOptions,
    }),
    result: Empty,
  },
  'convert.status': {
    params: Type.Object({ jobId: JobId }),
    result: Type.Object({ progress: Progress, steps: Type.Array(StepReport), guest: Type.String(), error: MaybeError }),
  },
  /** Stops whatever runs for this job; the transfer VM is destroyed after it. */
  'job.stop': { params: Type.Object({ jobId: JobId }), result: Empty },
} as const satisfies Record<string, MethodSchema>;

export type Methods = Record<string, MethodSchema>;
export type ParamsOf<M extends Methods, K extends keyof M> = Static<M[K]['params']>;
export type ResultOf<M extends Methods, K extends keyof M> = Static<M[K]['result']>;
