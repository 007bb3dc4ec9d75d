/** Messages between the bench and the processes that run Rehost's two sides. */
import type { ExportOptions } from '../../../agent/export/serve.ts';
import type { CopyOptions, PullOptions } from '../../../receiver/copy/copy.ts';

export type SourceOrder =
  | { kind: 'export'; options: ExportOptions }
  /** Without TLS: listens on this address. */
  | { kind: 'serve-plain'; host: string; connections: number; disk: string; path: string; sizeBytes: number }
  | { kind: 'stop' };

export type SinkOrder = { kind: 'copy'; options: CopyOptions } | { kind: 'pull'; options: PullOptions };

export type SideReport =
  /** The program and its threads are loaded. */
  | { kind: 'ready' }
  | { kind: 'listening'; port: number }
  /** The copy is done and flushed. */
  | { kind: 'done' }
  /** Its threads and connections are gone. */
  | { kind: 'closed' }
  | { kind: 'failed'; message: string };
