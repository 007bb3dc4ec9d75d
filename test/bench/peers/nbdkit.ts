/**
 * nbdkit and nbdcopy, as they come and tuned: the C library keeps large buffers instead of returning them to the kernel
 * after each request, and GnuTLS uses AES where it would take ChaCha20. nbdcopy has no direct I/O.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { dataPsk } from '../../../appliance/api/psk.ts';
import { freePort } from '../../real/transfer/transfer-lab.ts';
import type { Contender, Errand } from '../contender.ts';
import type { Trial } from '../trial.ts';

/** Both programs' environment. */
type Tuning = (errand: Errand) => NodeJS.ProcessEnv;

export const STOCK: Tuning = () => process.env;

export const TUNED: Tuning = ({ folder }) => {
  const priority = join(folder, 'gnutls.conf');
  writeFileSync(priority, '[overrides]\ntls-disabled-cipher = chacha20-poly1305\n');
  return {
    ...process.env,
    // glibc's M_MMAP_THRESHOLD: from this size on a buffer is mapped anew for each request, and its pages cleared.
    MALLOC_MMAP_THRESHOLD_: String(64 * 1024 * 1024),
    GNUTLS_SYSTEM_PRIORITY_FILE: priority,
    GNUTLS_SYSTEM_PRIORITY_FAIL_ON_INVALID: '1',
  };
};

const psk = dataPsk(Buffer.alloc(32, 7), 'bench001', ['sda']);

function keyFile(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 'keys.psk');
  writeFileSync(path, `${psk.identity}:${psk.key.toString('hex')}\n`, { mode: 0o600 });
  return path;
}

/** Starts nbdkit on the source's side and waits until it listens. Returns its port. */
export async function startNbdkit(trial: Trial, errand: Errand, tuning: Tuning, tls: boolean): Promise<number> {
  const { source: side } = errand.site;
  const port = await freePort();
  const pidFile = join(errand.folder, 'nbdkit.pid');
  const argv = ['nbdkit', '--foreground', '--readonly', '--port', String(port), '--ipaddr', side.address];
  if (tls) argv.push('--tls=require', `--tls-psk=${keyFile(errand.folder)}`);
  const server = trial.start('source', side, [...argv, '--pidfile', pidFile, 'file', errand.source], {
    env: tuning(errand),
  });
  await trial.ready(server, pidFile);
  return port;
}

function nbdcopy(kind: 'stock' | 'tuned', tls: boolean, connections: number): Contender {
  const tuning = kind === 'tuned' ? TUNED : STOCK;
  return {
    id: `nbdcopy-${kind}-${connections}`,
    name: `nbdkit -> nbdcopy, ${kind}, ${connections === 1 ? '1 connection' : `${connections} connections`}`,
    programs: ['nbdkit', 'nbdcopy'],
    copy: async (trial, errand) => {
      const port = await startNbdkit(trial, errand, tuning, tls);
      const { address } = errand.site.source;
      const uri = tls
        ? `nbds://${psk.identity}@${address}:${port}/?tls-psk-file=${join(errand.folder, 'keys.psk')}`
        : `nbd://${address}:${port}/`;
      const argv = ['nbdcopy', `--connections=${connections}`, '--flush', uri, errand.target ?? 'null:'];
      trial.begin();
      await trial.success(trial.start('sink', errand.site.sink, argv, { env: tuning(errand) }));
      trial.end();
    },
  };
}

/** One and four connections each; the four of the tuned one first, which most targets name. */
export function nbdcopies(tls: boolean, connections: readonly number[] = [4, 1]): Contender[] {
  return connections.flatMap((count) => [nbdcopy('tuned', tls, count), nbdcopy('stock', tls, count)]);
}

/** The tuned one with four connections alone. */
export function tunedNbdcopy(tls: boolean): Contender {
  return nbdcopy('tuned', tls, 4);
}
