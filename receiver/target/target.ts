/** Where a copy goes. One suite of contract tests runs against every kind; the copy loop never asks which it has. */
import type { Address } from '../../native/memory.ts';

/**
 * Owned by the thread that opened it. Addresses are native memory, page-aligned, used during the call only. Offsets and
 * lengths are bytes, multiples of `sectorBytes`, inside [0, sizeBytes]. Errors are RehostError: TARGET_WRITE_FAILED,
 * POOL_FULL where the storage under it has no room left.
 */
export interface Target {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  /** Writes all of it. It counts after `flush` only. */
  write(address: Address, offset: number, length: number): void;
  /** Makes the range read as zeros, without sending zeros where the target can do that. */
  zero(offset: number, length: number): void;
  /** Everything written before, by any thread, is on stable storage when this returns. */
  flush(): void;
  /** Forgets cached content, so that `read` asks the storage. */
  dropCaches(): void;
  /** Reads all of it back. */
  read(address: Address, offset: number, length: number): void;
  /** Idempotent. */
  close(): void;
}

/** A target as it is named to a thread. */
export type TargetSpec =
  /** A block device or a regular file, which must have its size already. */
  | { kind: 'device'; path: string; readOnly?: boolean }
  /** Takes everything and keeps nothing, to measure the rest. */
  | { kind: 'null'; sizeBytes: number };
