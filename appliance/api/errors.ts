/**
 * The one list of error codes. A code is stable: scripts and people search for it. Every failure that leaves a part
 * carries one of these, what happened, what is safe, and what to do next; the same four facts reach log, REST, CLI and screen.
 */

interface CodeFacts {
  /** HTTP status that the REST API answers with. */
  readonly status: number;
  /** What a person can rely on after this error, unless the thrower knows better. */
  readonly safe: string;
  /** What to do next, unless the thrower knows better. */
  readonly next: string;
}

const UNCHANGED = 'Nothing was changed.';
const SOURCE_SAFE = 'The source was only read; its disks are untouched.';

/** Every stable code with its HTTP status and default advice. Codes are added, never renamed. */
export const ERROR_CODES = {
  REQUEST_INVALID: { status: 400, safe: UNCHANGED, next: 'Correct the named field and send the request again.' },
  REQUEST_TOO_LARGE: { status: 413, safe: UNCHANGED, next: 'Send less in one request; the limit is named.' },
  NOT_AUTHORISED: { status: 401, safe: UNCHANGED, next: 'Use the local socket, or send a valid bearer token.' },
  ROLE_TOO_LOW: { status: 403, safe: UNCHANGED, next: 'Use a token of the role that is named, or the local socket.' },
  NOT_FOUND: { status: 404, safe: UNCHANGED, next: 'List the resource and use a name or id from the list.' },
  MACHINE_UNKNOWN: { status: 404, safe: UNCHANGED, next: "Run 'rehost machines' and use an id or name from the list." },
  MACHINE_NOT_APPROVED: {
    status: 409,
    safe: UNCHANGED,
    next: "Compare the code on the machine's screen and run 'rehost approve'.",
  },
  MACHINE_OFFLINE: { status: 409, safe: UNCHANGED, next: 'Boot the machine into the agent again and approve it.' },
  MACHINE_BUSY: { status: 409, safe: UNCHANGED, next: "Wait for the machine's running job, or cancel it." },
  PAIRING_CODE_WRONG: {
    status: 403,
    safe: 'The machine stays unapproved.',
    next: "Read the code from the source machine's own screen and type it again.",
  },
  PAIRING_LOCKED: {
    status: 403,
    safe: 'The machine stays unapproved.',
    next: 'Too many wrong codes: boot the machine again, so that it shows a new one.',
  },
  MACHINES_TOO_MANY: {
    status: 429,
    safe: UNCHANGED,
    next: "Approve or forget machines that wait ('rehost machines'), then boot this one again.",
  },
  JOB_UNKNOWN: { status: 404, safe: UNCHANGED, next: "Run 'rehost jobs' and use an id from the list." },
  JOB_ENDED: {
    status: 409,
    safe: UNCHANGED,
    next: 'The job has ended already; order a new one if needed. What a job that is done has made is removed by hand: its VM, then the volumes rehost-JOB-*.',
  },
  JOB_CANCELLED: { status: 409, safe: SOURCE_SAFE, next: 'Order a new job when ready.' },
  NAME_INVALID: {
    status: 400,
    safe: UNCHANGED,
    next: 'Use 1 to 63 letters, digits, dots, dashes or underscores, beginning with a letter or digit.',
  },
  NAME_TAKEN: { status: 409, safe: UNCHANGED, next: 'Choose another name for the target VM.' },
  HYPERVISOR_UNKNOWN: { status: 404, safe: UNCHANGED, next: 'Use a hypervisor from the list.' },
  HYPERVISOR_UNREACHABLE: {
    status: 502,
    safe: SOURCE_SAFE,
    next: 'Check that libvirtd runs on the host and that its URI is right.',
  },
  HYPERVISOR_REFUSED: {
    status: 502,
    safe: SOURCE_SAFE,
    next: "Read libvirt's message; free what it names and retry the job.",
  },
  POOL_UNKNOWN: {
    status: 404,
    safe: UNCHANGED,
    next: "Use a storage pool of the hypervisor; 'rehost hypervisors' lists them.",
  },
  POOL_TOO_SMALL: { status: 409, safe: UNCHANGED, next: 'Free space in the pool, or choose a larger one.' },
  POOL_FULL: {
    status: 507,
    safe: SOURCE_SAFE,
    next: 'Free space in the pool; a copy goes on by itself then, anything else is to be ordered again.',
  },
  NETWORK_UNKNOWN: { status: 404, safe: UNCHANGED, next: 'Use a network of the hypervisor.' },
  FIRMWARE_UNSUPPORTED: {
    status: 409,
    safe: UNCHANGED,
    next: 'Install OVMF on the hypervisor, or choose another one.',
  },
  PXE_UNAVAILABLE: {
    status: 500,
    safe: 'Nothing was changed; machines cannot boot over the network until this is mended.',
    next: "Read dnsmasq's message; mend what it names and start the service again.",
  },
  IMAGE_MISSING: { status: 500, safe: UNCHANGED, next: "Build the images first: 'make images'." },
  TRANSFER_VM_SILENT: {
    status: 504,
    safe: SOURCE_SAFE,
    next: "Read the transfer VM's console in the job's log; check that it can reach the appliance.",
  },
  REPLICA_CHANGED: {
    status: 409,
    safe: 'Nothing was changed; the replica is left as it is.',
    next: 'Cancel the job, which removes the replica, and order a new one; do it while the source is still there.',
  },
  MANIFEST_INVALID: {
    status: 409,
    safe: 'Nothing was changed; nothing is known of the replica by this.',
    next: "Restore the job's folder from a backup: without the manifest that the appliance signed a replica cannot be judged.",
  },
  TOKEN_INVALID: { status: 403, safe: UNCHANGED, next: 'Use the token that was issued for this job.' },
  TOKEN_SPENT: { status: 403, safe: UNCHANGED, next: 'A token works once; order a new job for a new one.' },
  AGENT_LOST: {
    status: 504,
    safe: SOURCE_SAFE,
    next: "Check the source machine's screen and its network, then order the job again.",
  },
  RECEIVER_LOST: {
    status: 504,
    safe: SOURCE_SAFE,
    next: "Check the hypervisor and the job's log, then order the job again.",
  },
  SNAPSHOT_REFUSED: {
    status: 409,
    safe: SOURCE_SAFE,
    next: 'Read the reason; choose other disks or another kind of snapshot.',
  },
  SOURCE_CHANGED: {
    status: 409,
    safe: SOURCE_SAFE,
    next: 'The source disk is not the one that the job began with. Order a new job.',
  },
  SOURCE_READ_FAILED: {
    status: 502,
    safe: SOURCE_SAFE,
    next: "Check the source disk's health (the range is named); nothing was made up for it.",
  },
  TARGET_WRITE_FAILED: { status: 502, safe: SOURCE_SAFE, next: "Check the hypervisor's storage; order the job again." },
  TRANSFER_FAILED: {
    status: 502,
    safe: SOURCE_SAFE,
    next: 'Check the network between source and hypervisor; order the job again.',
  },
  PROTOCOL_VIOLATION: {
    status: 502,
    safe: SOURCE_SAFE,
    next: 'The other side broke the protocol; check that both run the same version.',
  },
  VERIFY_MISMATCH: {
    status: 502,
    safe: `${SOURCE_SAFE} The replica is not trusted.`,
    next: "Check the hypervisor's storage and memory; order the job again.",
  },
  GUEST_UNSUPPORTED: {
    status: 422,
    safe: 'The replica is complete and verified.',
    next: 'Convert this guest by hand, or ask for its kind to be added.',
  },
  FILESYSTEM_DAMAGED: {
    status: 422,
    safe: 'The replica is complete and verified.',
    next: "Repair the source's file system, then order the job again.",
  },
  CONVERSION_FAILED: {
    status: 500,
    safe: 'The replica is complete and verified; only the overlay was touched.',
    next: "Read the failed step in the job's report.",
  },
  PROOF_FAILED: {
    status: 504,
    safe: 'The replica is complete and verified.',
    next: "Look at the screenshot and the console log in the job's report.",
  },
  TIMEOUT: {
    status: 504,
    safe: SOURCE_SAFE,
    next: 'Try again; if it repeats, read the log of the part that is named.',
  },
  STORE_DAMAGED: {
    status: 500,
    safe: 'The damaged file was kept as it is.',
    next: 'Restore the state file from a backup, or move it aside to begin empty.',
  },
  STORE_LOCKED: {
    status: 409,
    safe: UNCHANGED,
    next: 'Stop the other rehostd first, or choose another state folder.',
  },
  CONFIG_INVALID: {
    status: 400,
    safe: UNCHANGED,
    next: "Correct the named flag, variable or configuration field; 'rehostd --help' lists them.",
  },
  LISTEN_FAILED: {
    status: 409,
    safe: UNCHANGED,
    next: 'Free the address, or choose another one in the configuration.',
  },
  ORCHESTRATOR_UNREACHABLE: {
    status: 503,
    safe: 'Jobs that run go on without this connection.',
    next: "Check that rehostd runs, that --socket names its socket, and that you may read it (it is root's).",
  },
  TOOL_FAILED: { status: 500, safe: UNCHANGED, next: "Read the tool's message." },
  INTERNAL: { status: 500, safe: SOURCE_SAFE, next: 'This is a fault of Rehost: keep the log and report it.' },
} as const satisfies Record<string, CodeFacts>;

/** A stable error code. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** An error as it travels: in the store, over REST, over the control channel. */
export interface WireError {
  code: ErrorCode;
  /** What happened: one sentence that names the field, object or value. */
  message: string;
  /** What is safe. */
  safe: string;
  /** What to do next. */
  next: string;
}

/** Is this string one of the codes of the list? */
export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERROR_CODES, value);
}

/** The one error class of Rehost. `message` says what happened; `safe` and `next` default to the advice of the code. */
export class RehostError extends Error {
  override readonly name = 'RehostError';
  readonly code: ErrorCode;
  readonly safe: string;
  readonly next: string;

  constructor(code: ErrorCode, message: string, options: { safe?: string; next?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.safe = options.safe ?? ERROR_CODES[code].safe;
    this.next = options.next ?? ERROR_CODES[code].next;
  }

  /** HTTP status of this error. */
  get status(): number {
    return ERROR_CODES[this.code].status;
  }
}

/** Any thrown value as it travels. What is not a RehostError becomes INTERNAL with its own message. */
export function toWire(error: unknown): WireError {
  if (error instanceof RehostError) {
    return { code: error.code, message: error.message, safe: error.safe, next: error.next };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'INTERNAL', message, safe: ERROR_CODES.INTERNAL.safe, next: ERROR_CODES.INTERNAL.next };
}

/** The error that arrived. A code that this version does not know becomes INTERNAL; its text is kept. */
export function fromWire(wire: { code: string; message: string; safe: string; next: string }): RehostError {
  const code = isErrorCode(wire.code) ? wire.code : 'INTERNAL';
  return new RehostError(code, wire.message, { safe: wire.safe, next: wire.next });
}
