/** Runs in an image instead of its program: says on the console whether everything that our programs rest on is there. */
import { existsSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import koffi from 'koffi';
import { waitForAddress } from '../../../../appliance/api/own-addresses.ts';
import { CONVERT_TOOLS } from '../../../../receiver/convert/tools.ts';
import { hostileGuest } from './hostile-guest.ts';

const upSeconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
console.log(`REHOST-STARTED ${JSON.stringify({ upSeconds, secureBoot: secureBoot() })}`);

const ssl = koffi.load(null);
const method = ssl.func('const void *TLS_method()');
const newContext = ssl.func('void *SSL_CTX_new(const void *method)');
const xxhash = koffi.load('libxxhash.so.0').func('uint64_t XXH3_64bits(const void *data, size_t bytes)');

const worker = new Worker(new URL(`./probe-worker${extname(import.meta.filename)}`, import.meta.url));
const answer: unknown = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
const available = /MemAvailable: +(\d+) kB/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
const folders = process.env.PATH?.split(':') ?? [];
const missingTools = CONVERT_TOOLS.filter((tool) => !folders.some((folder) => existsSync(`${folder}/${tool}`)));
const guest = missingTools.length === 0 ? await hostileGuest() : null;

// As both programs do.
await waitForAddress(15_000);
const addresses = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .filter((address) => address.family === 'IPv4' && !address.internal)
  .map((address) => address.cidr);

console.log(
  `REHOST-RUNTIME ${JSON.stringify({
    node: process.version,
    context: newContext(method()) !== null,
    xxh3: String(xxhash(Buffer.alloc(4096), 4096)),
    worker: answer,
    addresses,
    availableBytes: Number(available) * 1024,
    missingTools,
    guest,
    activating: activatingModules(),
    modules: readFileSync('/proc/modules', 'utf8').split('\n').filter(Boolean).length,
    blocks: blockDevices(),
  })}`,
);

/** The firmware's variable SecureBoot (EFI_GLOBAL_VARIABLE): 4 bytes of attributes and its value; null without one. */
function secureBoot(): number[] | null {
  const path = '/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c';
  return existsSync(path) ? [...readFileSync(path)] : null;
}

/** Name -> read-only flag of every block device that the image sees. */
function blockDevices(): Record<string, boolean> {
  const names = readFileSync('/proc/partitions', 'utf8').split('\n').slice(2);
  return Object.fromEntries(
    names.flatMap((line) => {
      const name = line.trim().split(/\s+/)[3];
      return name === undefined ? [] : [[name, readFileSync(`/sys/class/block/${name}/ro`, 'utf8').trim() === '1']];
    }),
  );
}

/**
 * Modules of the image that could assemble or mount what they find on a disk: RAID sets, device-mapper, file systems.
 * configfs and efivarfs are none on a disk: drivers are set up through the one, the other has the firmware's variables.
 */
function activatingModules(): string[] {
  const release = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
  const lines = readFileSync(`/lib/modules/${release}/modules.dep`, 'utf8').split('\n');
  const paths = lines.map((line) => line.replace(/:.*/, '')).filter(Boolean);
  if (paths.length === 0) throw new Error('The image has no modules.');
  return paths.filter((path) => /kernel\/(drivers\/md|fs(?!\/(?:configfs|efivarfs)))\//.test(path));
}
