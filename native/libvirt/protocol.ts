/** Messages between a connection process and its owner, over Node's IPC channel. No native code here. */
import { LibvirtError, type LibvirtErrorFacts } from './error.ts';

/** First message to a connection process: what to connect to. */
export interface OpenMessage {
  uri: string;
}

export interface CallMessage {
  id: number;
  call: string;
  args: unknown[];
}

/** A failure of libvirt, or another one (a local file, a fault in the process) by its message. */
export type WireFailure = { libvirt: LibvirtErrorFacts } | { other: string };

export type ReplyMessage = { id: number; value: unknown } | { id: number; failure: WireFailure };

/** First message to a console process. */
export interface ConsoleMessage {
  uri: string;
  domain: string;
}

/** What a console process writes to its status pipe, one JSON object: that it holds the console, or why it ended. */
export type ConsoleStatus = { opened: true } | { failure: WireFailure };
/** File descriptor of the status pipe in a console process. */
export const STATUS_FD = 3;

/** Any thrown value as it crosses the border. */
export function toFailure(error: unknown): WireFailure {
  if (error instanceof LibvirtError) return { libvirt: error.facts() };
  return { other: error instanceof Error ? error.message : String(error) };
}

/** The failure that arrived. */
export function fromFailure(failure: WireFailure): Error {
  return 'libvirt' in failure ? new LibvirtError(failure.libvirt) : new Error(failure.other);
}
