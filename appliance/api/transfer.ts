/** Numbers that both ends of a transfer must agree on. No logic. */

/**
 * Disks are copied, hashed, recorded and verified in blocks of this, laid from the disk's start; the last one may be shorter.
 * One READ of the receiver, one hash of the agent, one entry of the manifest, bytes.
 */
export const BLOCK_BYTES = 4 * 1024 * 1024;
/** A block goes through both ends in steps of this: what was just read, hashed, encrypted or written is still in the CPU's cache, bytes. */
export const STEP_BYTES = 256 * 1024;
/** Requests in flight on one connection. */
export const QUEUE_DEPTH = 4;
/** Connections of one job unless the order says otherwise. */
export const CONNECTIONS_DEFAULT = 2;
export const CONNECTIONS_MAX = 8;
/** Zero runs shorter than this are sent as data: a hole costs a chunk header and a request to the target, bytes. */
export const ZERO_GRAIN_BYTES = 4096;
/** A peer that has not finished TCP, TLS and NBD negotiation by then is dropped, ms. */
export const HANDSHAKE_DEADLINE_MS = 10_000;
/** A connection on which nothing arrives for this long while something is owed is dead, ms. */
export const SILENCE_DEADLINE_MS = 30_000;
/** Half-open connections that the receiver holds at once. */
export const HALF_OPEN_MAX = 16;
/** Size of a transfer token, bytes (256 bits). */
export const TOKEN_BYTES = 32;
/** TLS-PSK identity of a job's data connections: this prefix and the job's id. */
export const PSK_IDENTITY_PREFIX = 'rehost-';
/** HKDF info prefix; the job id, the direction and the sorted export names follow, so that a token cannot be used for another job, direction or disk set. */
export const PSK_HKDF_INFO = 'rehost nbd psk v1';
/** Name in the orchestrator's certificate. Agents and receivers check this name, not the address, which may change. */
export const ORCHESTRATOR_NAME = 'orchestrator.rehost.internal';
/** First bytes of a transfer VM's config disk; JSON follows, padded with NUL to a whole number of sectors. */
export const CONFIG_DISK_MAGIC = 'REHOST-CONFIG-1\n';
/** Serial of the config disk in a transfer VM. */
export const CONFIG_DISK_SERIAL = 'rehost-config';
/** Size of the config disk, bytes. */
export const CONFIG_DISK_BYTES = 1024 * 1024;
/** Serial of the journal in a transfer VM: which blocks are on stable storage, and their hashes. */
export const JOURNAL_SERIAL = 'rehost-journal';
/** Room for the head of a disk's section of the journal, bytes; its list follows, in whole JOURNAL_PAGE_BYTES. */
export const JOURNAL_HEAD_BYTES = 64 * 1024;
export const JOURNAL_PAGE_BYTES = 4096;
/**
 * Lowest bandwidth limit that can be set, bytes per second: eight connections then wait 8 s between two steps of 256 KiB, and TCP gives up a
 * peer that takes nothing for 30 s.
 */
export const BANDWIDTH_MIN = 256 * 1024;
/** More unreadable ranges than this end the copy, whatever was ordered: the disk is dying. */
export const BAD_RANGES_MAX = 500;
