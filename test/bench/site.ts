/** Where the two sides of a run stand: both on loopback, or each in a network namespace of its own. */

export interface Side {
  /** Where the other side reaches it. */
  address: string;
  /** How a program is started there. */
  argv(argv: readonly string[]): string[];
}

export interface Site {
  source: Side;
  sink: Side;
}

const here: Side = { address: '127.0.0.1', argv: (argv) => [...argv] };

/** Both sides on this machine's loopback. */
export const LOOPBACK: Site = { source: here, sink: here };

/** A side in a network namespace. */
export function inNamespace(namespace: string, address: string): Side {
  return { address, argv: (argv) => ['ip', 'netns', 'exec', namespace, ...argv] };
}
