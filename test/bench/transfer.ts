/**
 * How fast disks are copied, beside the fastest standard tools: agent to receiver with TLS and hashes, and nbdkit to nbdcopy
 * with TLS, both from RAM to nothing and from RAM to a loop device, on the same cores, alternating, the median of five.
 * The others are tuned as far as is known: nbdkit keeps its buffers (MALLOC_MMAP_THRESHOLD_), GnuTLS uses AES, four connections.
 * Prints a table and writes out/bench/transfer.json. Size of the source: REHOST_BENCH_MIB.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { startExport } from '../../agent/export/serve.ts';
import { dataPsk } from '../../appliance/api/psk.ts';
import { startCopy } from '../../receiver/copy/copy.ts';
import type { TargetSpec } from '../../receiver/target/target.ts';
import { attachLoop } from '../contract/target/loop-device.ts';
import { freePort, kill, listening } from '../real/transfer/transfer-lab.ts';

const MIB = 1024 * 1024;
const ROUNDS = 5;
const sizeBytes = Number(process.env.REHOST_BENCH_MIB ?? 2048) * MIB;
const JOB = 'bench001';
const TOKEN = Buffer.alloc(32, 7);
const psk = dataPsk(TOKEN, JOB, ['sda']);

const folder = mkdtempSync('/dev/shm/rehost-bench-');
const source = join(folder, 'source');
const sink = join(folder, 'sink');
let loop: ReturnType<typeof attachLoop> | undefined;
let server: ChildProcess | undefined;

async function clean(): Promise<void> {
  if (server) await kill(server);
  loop?.detach();
  rmSync(folder, { recursive: true, force: true });
}

function fill(path: string): void {
  const fd = openSync(path, 'w');
  const buffer = Buffer.alloc(MIB);
  for (let done = 0; done < sizeBytes; done += MIB) writeSync(fd, randomFillSync(buffer), 0, MIB);
  closeSync(fd);
}

/** What one copy took, seconds. */
interface Took {
  wall: number;
  /** Of both ends together. */
  cpu: number;
}

/** CPU seconds of a process, and of its children that ended: proc(5), fields 14 to 17, in ticks of 10 ms. */
function cpuOf(pid: number | 'self'): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

/** Runs one copy; `servers` are the processes that belong to it besides this one. */
async function measure(run: () => Promise<void> | void, servers: readonly (number | undefined)[]): Promise<Took> {
  const cpu = (): number => cpuOf('self') + servers.reduce<number>((sum, pid) => sum + (pid ? cpuOf(pid) : 0), 0);
  const before = cpu();
  const start = performance.now();
  await run();
  return { wall: (performance.now() - start) / 1000, cpu: cpu() - before };
}

/** One copy by Rehost, both ends in this process. */
async function ours(target: TargetSpec, connections: number): Promise<void> {
  const order = { jobId: JOB, token: TOKEN, connections };
  const copy = startCopy({
    ...order,
    disks: [{ disk: 'sda', sizeBytes, target }],
    listen: { host: '127.0.0.1', port: 0 },
  });
  const agent = startExport({
    ...order,
    address: '127.0.0.1',
    port: copy.port,
    disks: [{ disk: 'sda', path: source, sizeBytes }],
  });
  await copy.finished;
  await agent.stop();
  const { progress, error } = copy.status();
  if (progress !== 'done') throw new Error(`The copy failed: ${error?.message}`);
}

/** GnuTLS would take ChaCha20, which is slower where the CPU has AES. */
function tuned(): NodeJS.ProcessEnv {
  const priority = join(folder, 'gnutls.conf');
  writeFileSync(priority, '[overrides]\ntls-disabled-cipher = chacha20-poly1305\n');
  return {
    ...process.env,
    MALLOC_MMAP_THRESHOLD_: String(64 * MIB),
    GNUTLS_SYSTEM_PRIORITY_FILE: priority,
    GNUTLS_SYSTEM_PRIORITY_FAIL_ON_INVALID: '1',
  };
}

async function startNbdkit(env: NodeJS.ProcessEnv): Promise<string> {
  const keys = join(folder, 'keys.psk');
  writeFileSync(keys, `${psk.identity}:${psk.key.toString('hex')}\n`, { mode: 0o600 });
  const port = await freePort();
  const args = [
    '-f',
    '-r',
    '-p',
    String(port),
    '-i',
    '127.0.0.1',
    '--tls=require',
    `--tls-psk=${keys}`,
    'file',
    source,
  ];
  server = spawn('nbdkit', args, { stdio: 'ignore', env });
  await listening(port);
  return `nbds://${psk.identity}@127.0.0.1:${port}/?tls-psk-file=${keys}`;
}

/** One copy by nbdcopy. */
function theirs(uri: string, target: string, env: NodeJS.ProcessEnv): void {
  execFileSync('nbdcopy', ['--connections=4', '--flush', uri, target], { env, stdio: ['ignore', 'ignore', 'inherit'] });
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

async function main(): Promise<void> {
  fill(source);
  fill(sink);
  loop = attachLoop(sink);
  const env = tuned();
  const uri = await startNbdkit(env);
  const device: TargetSpec = { kind: 'device', path: loop.path };
  const path = loop.path;
  const nothing: TargetSpec = { kind: 'null', sizeBytes };
  const runs: { name: string; to: string; run(): Promise<void> | void; took: Took[] }[] = [
    { name: 'rehost, 2 connections, hashes', to: 'null', run: () => ours(nothing, 2), took: [] },
    { name: 'nbdkit + nbdcopy, 4 connections', to: 'null', run: () => theirs(uri, 'null:', env), took: [] },
    { name: 'rehost, 2 connections, hashes', to: 'loop device', run: () => ours(device, 2), took: [] },
    { name: 'nbdkit + nbdcopy, 4 connections', to: 'loop device', run: () => theirs(uri, path, env), took: [] },
  ];
  for (let round = 0; round < ROUNDS; round++) {
    for (const one of round % 2 === 0 ? runs : runs.toReversed())
      one.took.push(await measure(() => one.run(), [server?.pid]));
  }
  const wall = (took: readonly Took[]): number => median(took.map((one) => one.wall));
  const gigabytes = sizeBytes / 1e9;
  const results = runs.map(({ name, to, took }) => {
    const reference = runs.find((other) => other.to === to && other.name.startsWith('nbdkit'))?.took ?? took;
    const cpuPerGb = median(took.map((one) => one.cpu)) / gigabytes;
    return { name, to, gbPerSecond: gigabytes / wall(took), cpuPerGb, ratio: wall(reference) / wall(took), took };
  });
  console.log(
    `TLS 1.3 PSK, AES-128-GCM, ${sizeBytes / MIB} MiB of random data, ${cpus().length} cores, median of ${ROUNDS}`,
  );
  for (const { name, to, gbPerSecond, cpuPerGb, ratio } of results) {
    const figures = `${gbPerSecond.toFixed(2)} GB/s  ${cpuPerGb.toFixed(2)} CPU s/GB  x ${ratio.toFixed(2)}`;
    console.log(`${name.padEnd(34)} -> ${to.padEnd(12)} ${figures}`);
  }
  mkdirSync('out/bench', { recursive: true });
  writeFileSync(
    'out/bench/transfer.json',
    `${JSON.stringify({ sizeBytes, cores: cpus().length, results }, null, 2)}\n`,
  );
}

try {
  await main();
} finally {
  await clean();
}
