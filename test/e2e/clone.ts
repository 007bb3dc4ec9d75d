/**
 * One complete clone in the lab, as a person would do it: a source machine boots over the network, its pairing code is read
 * from its screen and typed, the copy is ordered with `rehost`, and everything that it claims is checked from outside.
 */
import { existsSync } from 'node:fs';
import { cp, mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Job } from '../../appliance/api/job.ts';
import type { JobView, Machine } from '../../appliance/api/rest.ts';
import { onExit } from '../lab/cleanup.ts';
import { run } from '../lab/command.ts';
import { joinIsolatedNetwork } from '../lab/isolated.ts';
import { type LabLibvirtd, startLibvirtd } from '../lab/libvirtd.ts';
import { type Lab, openLab } from '../lab/namespace.ts';
import type { SourceKind } from '../lab/source-disk/layout.ts';
import { buildSourceDisk, copySourceDisk, type SourceDisk } from '../lab/source-disk.ts';
import { createSourceMachine, type SourceMachine } from '../lab/source-machine.ts';
import { ssh } from '../lab/ssh.ts';
import { type Appliance, makeAppliance } from './appliance.ts';
import type { CloneFacts, CloneReport, ExpectedTarget, PhaseRow } from './report.ts';
import { inspectTarget } from './target.ts';
import { compareUsed, fileSha256 } from './witness.ts';

const NETWORK_BOOT_LIMIT_MS = 300_000;
const JOB_LIMIT_MS = 45 * 60_000;
const POLL_MS = 1000;
const TARGET_NAME = 'db-paris-1-copy';

export interface CloneListener {
  step(text: string): void;
  progress(fraction: number | null, text: string): void;
}

export interface CloneOptions {
  kind: SourceKind;
  images: string;
  listener: CloneListener;
  /** Folder that keeps the job's log, consoles and screenshot, whatever the end. */
  keepIn: string;
  /** Order it as for real: the target VM is shut down after its proof, and started on the LAN once the source is off. */
  takeOver?: boolean;
  /** Called with every new state of the job: a test kills or cancels there. */
  onState?: (scene: Scene, job: Job) => Promise<void>;
  /** Called at every poll with the present view. */
  onPoll?: (scene: Scene, view: JobView) => Promise<void>;
}

/** Everything that stands while a clone runs. */
export interface Scene {
  lab: Lab;
  libvirtd: LabLibvirtd;
  appliance: Appliance;
  disk: SourceDisk;
  /** The copy of the disk that the source machine runs on. */
  diskPath: string;
  machine: SourceMachine;
}

/** Opens the lab with libvirtd, the orchestrator and a source machine that is switched off. `close` undoes all of it. */
export async function openScene(
  options: Pick<CloneOptions, 'kind' | 'images' | 'listener'>,
): Promise<Scene & { close(): Promise<void> }> {
  const { kind, images, listener } = options;
  if (!existsSync(join(images, 'transfer/initrd')))
    throw new Error(`there are no images in ${images}: run 'make images'`);
  listener.step(`source disk: Debian 13, ${kind.toUpperCase()}, 8 GiB (from the cache, or built now)`);
  const disk = await buildSourceDisk(kind, { log: (line) => listener.progress(null, line) });
  listener.step('lab: network namespaces with a LAN, its DHCP server, and a private libvirtd');
  const lab = await openLab();
  try {
    const libvirtd = await startLibvirtd({ netns: lab.namespace });
    const stopLibvirtd = onExit('libvirtd', () => libvirtd.stop());
    const { diskPath, nvramPath } = await copySourceDisk(disk, join(lab.directory, 'source'));
    const machine = await createSourceMachine(lab, {
      kind,
      diskPath,
      ...(nvramPath === undefined ? {} : { nvramPath }),
    });
    const appliance = await makeAppliance(lab, { libvirtUri: libvirtd.uri, images });
    listener.step('orchestrator: REST, control channel, PXE beside the LAN’s own DHCP server');
    await appliance.start();
    const close = async () => {
      await machine.stop();
      await appliance.stop();
      await stopLibvirtd();
      await lab.close();
    };
    return { lab, libvirtd, appliance, disk, diskPath, machine, close };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** Boots the source over the network, reads the pairing code from its screen and approves it. Answers the machine. */
export async function enrol(scene: Scene, listener: CloneListener): Promise<Machine> {
  const { machine, appliance } = scene;
  listener.step('source machine: power on, boot from the network');
  await machine.start({ boot: 'network' });
  const [, code = ''] = await machine.waitForConsole(/Pairing code: ([0-9A-Z]{4}-[0-9A-Z]{4})/, NETWORK_BOOT_LIMIT_MS);
  for (const deadline = Date.now() + 60_000; ; await sleep(POLL_MS)) {
    const [found] = await appliance.rehost<Machine[]>('machines');
    if (found?.online) {
      listener.step(
        `machine ${found.id}: ${found.inventory.vendor} ${found.inventory.product}; its screen shows ${code}: approved`,
      );
      return await appliance.rehost<Machine>('approve', found.id, code, '--name', 'db-paris-1');
    }
    if (Date.now() > deadline)
      throw new Error(`the machine shows its code but is not in the list: ${appliance.log().slice(-2000)}`);
  }
}

function showProgress(listener: CloneListener, view: JobView): void {
  const { progress } = view;
  if (!progress) return;
  const speed = progress.bytesPerSecond > 0 ? `${(progress.bytesPerSecond / 1e6).toFixed(1)} MB/s` : '';
  const fraction = progress.totalBytes ? progress.doneBytes / progress.totalBytes : null;
  listener.progress(fraction, [progress.state, speed, progress.note].filter(Boolean).join(', '));
}

/** Orders the copy and follows it to its end; the orchestrator may be away meanwhile. Answers the ended job. */
export async function orderAndFollow(scene: Scene, machine: Machine, options: CloneOptions): Promise<Job> {
  const { appliance } = scene;
  const ordered = await appliance.rehost<JobView>(
    'clone',
    machine.id,
    '--name',
    TARGET_NAME,
    ...(options.takeOver ? [] : ['--keep-running']),
    '--cpus',
    '2',
    '--memory',
    '1G',
  );
  let state = '';
  for (const deadline = Date.now() + JOB_LIMIT_MS; ; await sleep(POLL_MS)) {
    const view = await appliance.job(ordered.job.id);
    if (view.job.state !== state) {
      const last = view.job.phases.at(-2);
      if (last?.detail) options.listener.step(`  ${last.state}: ${last.detail}`);
      state = view.job.state;
      options.listener.step(`job ${view.job.id}: ${state}`);
      await options.onState?.(scene, view.job);
    }
    showProgress(options.listener, view);
    await options.onPoll?.(scene, view);
    if (['done', 'failed', 'cancelled'].includes(state)) return view.job;
    if (Date.now() > deadline) throw new Error(`job ${view.job.id} is still in '${state}'`);
  }
}

function seconds(phase: { startedAt: string; endedAt: string | null }): number {
  return (Date.parse(phase.endedAt ?? new Date().toISOString()) - Date.parse(phase.startedAt)) / 1000;
}

/** One row per phase of the job; a phase that was entered twice (after a restart) counts its time together. */
function phaseRows(job: Job): PhaseRow[] {
  const rows = new Map<string, PhaseRow>();
  for (const phase of job.phases) {
    const before = rows.get(phase.state);
    const took = (before?.seconds ?? 0) + seconds(phase);
    const moved = phase.state === 'copy' || phase.state === 'verify' ? job.usedBytes : null;
    rows.set(phase.state, {
      phase: phase.state,
      seconds: took,
      bytesRead: phase.state === 'copy' ? job.readBytes : phase.state === 'verify' ? job.usedBytes : null,
      bytesOnWire: phase.state === 'copy' ? job.wireBytes : null,
      megabytesPerSecond: moved === null ? null : moved / 1e6 / Math.max(took, 0.001),
      proof:
        phase.state === 'verify'
          ? `manifest ${job.manifests[0]?.sha256.slice(0, 16)}`
          : phase.state === 'prove'
            ? (job.proof?.evidence ?? '')
            : '',
    });
  }
  return [...rows.values()];
}

/** A namespace on the target's network: the isolated one, or the LAN once it has taken the source's place. */
async function reachTarget(
  scene: Scene,
  job: Job,
  options: CloneOptions,
): Promise<{ namespace: string; close(): Promise<void> }> {
  const where = options.takeOver ? 'LAN, started in the place of the source' : 'isolated network';
  options.listener.step(`target VM: looked into at ${scene.disk.address} on the ${where}`);
  if (!options.takeOver) return await joinIsolatedNetwork(scene.lab, scene.libvirtd.uri, job.isolatedNetwork);
  const virsh = ['virsh', '--quiet', '--connect', scene.libvirtd.uri];
  const state = await run([...virsh, 'domstate', TARGET_NAME]);
  if (state.trim() !== 'shut off') throw new Error(`the target VM is '${state.trim()}' after its hand-over`);
  await run([...virsh, 'start', TARGET_NAME]);
  return { namespace: scene.lab.namespace, close: async () => undefined };
}

/** Clones one machine and checks everything from outside. Rejects when the job does not end in `done`. */
export async function cloneOneMachine(
  options: CloneOptions,
): Promise<{ report: CloneReport; expected: ExpectedTarget }> {
  const { listener } = options;
  const startedAt = new Date().toISOString();
  const rows: PhaseRow[] = [];
  const timed = async <T>(
    phase: string,
    proof: (result: T) => string,
    bytesRead: number | null,
    work: () => Promise<T>,
  ): Promise<T> => {
    const begin = Date.now();
    const result = await work();
    const took = (Date.now() - begin) / 1000;
    const rate = bytesRead === null ? null : bytesRead / 1e6 / Math.max(took, 0.001);
    rows.push({ phase, seconds: took, bytesRead, bytesOnWire: null, megabytesPerSecond: rate, proof: proof(result) });
    return result;
  };
  const scene = await openScene(options);
  try {
    const { size } = await stat(scene.diskPath);
    listener.step('source disk: SHA-256 of all 8 GiB, before anything boots');
    const sourceSha256Before = await timed(
      'source hash before',
      (hash) => hash.slice(0, 16),
      size,
      () => fileSha256(scene.diskPath),
    );
    const machine = await timed(
      'network boot, pairing',
      (found) => found.id,
      null,
      () => enrol(scene, listener),
    );
    const job = await orderAndFollow(scene, machine, options);
    if (job.state !== 'done') {
      throw new Error(
        `job ${job.id} ended ${job.state}: ${job.error?.code} ${job.error?.message}\n${await scene.appliance.rehostText('log', job.id).then((log) => log.stdout)}`,
      );
    }
    rows.push(...phaseRows(job));
    listener.step('source machine: power off; SHA-256 of its disk once more');
    await scene.machine.stop();
    const sourceSha256After = await timed(
      'source hash after',
      (hash) => hash.slice(0, 16),
      size,
      () => fileSha256(scene.diskPath),
    );
    listener.step('independent witness: dumpe2fs says what is in use, source and replica are compared');
    const replica = join(scene.libvirtd.poolFolder, job.disks[0]?.replica ?? '');
    const compared = await timed(
      'independent compare',
      (result) => result.replica.slice(0, 16),
      null,
      () => compareUsed(scene.diskPath, replica),
    );
    const view = await reachTarget(scene, job, options);
    const login = { address: scene.disk.address, keyPath: scene.disk.sshKeyPath };
    listener.step('target VM: every file of the manifest is hashed inside it');
    const target = await timed(
      'manifest in the target',
      (facts) => `${facts.filesVerified} files`,
      null,
      () => inspectTarget(view, login, scene.machine.mac),
    );
    const files = Number((await ssh(view, login, 'grep -c . /srv/data/MANIFEST.sha256')).trim());
    const manifestHash = (await ssh(view, login, 'sha256sum /srv/data/MANIFEST.sha256')).slice(0, 64);
    if (manifestHash !== scene.disk.manifestSha256)
      throw new Error(`the manifest in the target is not the source's: ${manifestHash}`);
    await view.close();
    const facts: CloneFacts = {
      firmware: options.kind,
      jobId: job.id,
      sourceSha256Before,
      sourceSha256After,
      usedSha256Source: compared.source,
      usedSha256Replica: compared.replica,
      witnessedUsedBytes: compared.usedBytes,
      usedBytes: job.usedBytes ?? 0,
      wireBytes: job.wireBytes ?? 0,
      readBytes: job.readBytes ?? 0,
      manifestSha256: job.manifests[0]?.sha256 ?? '',
      acceleration: job.acceleration ?? '',
      loginPrompt: job.proof?.evidence ?? '',
      screenshot: job.proof?.screenshot ?? '',
      target,
    };
    const { hostName, address, nicName } = scene.disk;
    return {
      report: { startedAt, endedAt: new Date().toISOString(), rows, facts },
      expected: { hostName, address, nicName, files },
    };
  } finally {
    await keepFiles(scene, options.keepIn);
    await scene.close();
  }
}

/** The job's files and the machine's screen, for the person who wants to know what happened. */
async function keepFiles(scene: Scene, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, 'source.console'), scene.machine.consoleText());
  await writeFile(join(folder, 'orchestrator.log'), scene.appliance.log());
  const jobs = join(scene.appliance.state, 'jobs');
  if (existsSync(jobs)) await cp(jobs, join(folder, 'jobs'), { recursive: true });
}
