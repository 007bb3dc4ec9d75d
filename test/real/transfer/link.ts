/** Two network namespaces with a link between them that can be cut. Needs root, ip and nft. */
import { execFileSync } from 'node:child_process';
import type { Lab } from './transfer-lab.ts';

const QUIET = { encoding: 'utf8', timeout: 30_000, stdio: 'pipe' } as const;

export interface Link {
  /** Namespaces, and the address of the second one. */
  left: string;
  right: string;
  address: string;
  /** Drops everything that arrives at `right`, or at both ends: nobody hears of it. */
  cut(what: 'one way' | 'both ways'): void;
  mend(): void;
}

let made = 0;

/** Lays the link; it and its namespaces are removed with the lab. Processes in them must have been started by the lab after this. */
export function layLink(lab: Lab): Link {
  const name = `rehost-link-${process.pid}-${made++}`;
  const [left, right] = [`${name}-a`, `${name}-b`];
  const ip = (...args: string[]): string => execFileSync('ip', args, QUIET);
  for (const namespace of [left, right]) {
    ip('netns', 'add', namespace);
    lab.later(() => {
      ip('netns', 'delete', namespace);
    });
  }
  ip('-n', left, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', right);
  for (const [namespace, address] of [
    [left, '10.78.0.1/24'],
    [right, '10.78.0.2/24'],
  ] as const) {
    ip('-n', namespace, 'address', 'add', address, 'dev', 'eth0');
    ip('-n', namespace, 'link', 'set', 'eth0', 'up');
    ip('-n', namespace, 'link', 'set', 'lo', 'up');
  }
  const nft = (namespace: string, ...words: string[]): string =>
    execFileSync('ip', ['netns', 'exec', namespace, 'nft', ...words], QUIET);
  return {
    left,
    right,
    address: '10.78.0.2',
    cut: (what) => {
      for (const namespace of what === 'both ways' ? [left, right] : [right]) {
        nft(namespace, 'add table inet cut');
        nft(namespace, 'add chain inet cut input { type filter hook input priority 0; policy drop; }');
      }
    },
    mend: () => {
      for (const namespace of [left, right]) nft(namespace, 'flush ruleset');
    },
  };
}
