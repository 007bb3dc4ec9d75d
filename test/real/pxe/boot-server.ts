/** Starts the boot server (test/lab/boot-server) in a lab. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lab } from '../../lab/namespace.ts';

const START_LIMIT_MS = 60_000;

export interface BootServer {
  /** SHA-256 of its CA certificate, hex. */
  pin: string;
  /** What the PXE service and the boot files' server said so far. */
  log: () => string;
}

/** Serves the images of this folder to the lab's LAN. It ends with the lab. */
export async function startBootServer(lab: Lab, images: string): Promise<BootServer> {
  const main = join(import.meta.dirname, '../../lab/boot-server/main.ts');
  const state = join(lab.directory, 'boot-server');
  await mkdir(state);
  const server = lab.spawn([process.execPath, main, state, images]);
  let log = '';
  for (const stream of [server.stdout, server.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
  for (const end = Date.now() + START_LIMIT_MS; ; ) {
    const pin = /^ready ([0-9a-f]{64})$/m.exec(log)?.[1];
    if (pin !== undefined) return { pin, log: () => log };
    if (Date.now() > end || server.exitCode !== null) throw new Error(`The boot server did not start: ${log}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
