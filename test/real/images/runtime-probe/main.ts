/** Runs in an image instead of its program: says on the console whether everything that our programs rest on is there. */
import { existsSync, readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import koffi from 'koffi';
import { CONVERT_TOOLS } from '../../../../receiver/convert/tools.ts';

const ssl = koffi.load(null);
const method = ssl.func('const void *TLS_method()');
const newContext = ssl.func('void *SSL_CTX_new(const void *method)');
const xxhash = koffi.load('libxxhash.so.0').func('uint64_t XXH3_64bits(const void *data, size_t bytes)');

const worker = new Worker(new URL(`./probe-worker${extname(import.meta.filename)}`, import.meta.url));
const answer: unknown = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
const available = /MemAvailable: +(\d+) kB/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1];
const addresses = Object.values(networkInterfaces())
  .flatMap((list) => list ?? [])
  .filter((address) => address.family === 'IPv4' && !address.internal)
  .map((address) => address.cidr);

const folders = process.env.PATH?.split(':') ?? [];

console.log(
  `REHOST-RUNTIME ${JSON.stringify({
    node: process.version,
    context: newContext(method()) !== null,
    xxh3: String(xxhash(Buffer.alloc(4096), 4096)),
    worker: answer,
    addresses,
    availableBytes: Number(available) * 1024,
    upSeconds: Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]),
    missingTools: CONVERT_TOOLS.filter((tool) => !folders.some((folder) => existsSync(`${folder}/${tool}`))),
    activating: activatingModules(),
    modules: readFileSync('/proc/modules', 'utf8').split('\n').filter(Boolean).length,
    blocks: blockDevices(),
  })}`,
);

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
 * configfs is none on a disk; some drivers are set up through it.
 */
function activatingModules(): string[] {
  const release = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
  const lines = readFileSync(`/lib/modules/${release}/modules.dep`, 'utf8').split('\n');
  const paths = lines.map((line) => line.replace(/:.*/, '')).filter(Boolean);
  if (paths.length === 0) throw new Error('The image has no modules.');
  return paths.filter((path) => /kernel\/(drivers\/md|fs(?!\/configfs))\//.test(path));
}
