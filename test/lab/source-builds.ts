/** Runs the disk builder as a process of its own, and removes what is left of builds that did not end well. */
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { onExit } from './cleanup.ts';
import { run } from './command.ts';
import type { SourceKind } from './source-disk/layout.ts';

/** A build takes a minute; thirty on a busy machine with a slow mirror. */
const BUILD_LIMIT_MS = 30 * 60_000;

/**
 * Builds in the folder `work` and calls `publish` when it is done. The builder has mounts and PIDs of its own: no other process
 * copies its mounts, and with it everything that it started ends, be this process stopped or killed.
 */
export async function runBuilder(
  kind: SourceKind,
  work: string,
  log: (line: string) => void,
  publish: () => Promise<void>,
): Promise<void> {
  let builder: ChildProcess | undefined;
  const remove = onExit(`build of the ${kind} source disk`, async () => {
    if (builder && builder.exitCode === null && builder.signalCode === null) {
      const ended = new Promise((resolve) => builder?.once('exit', resolve));
      builder.kill('SIGKILL');
      await ended;
    }
    await removeBuild(work);
  });
  const main = join(import.meta.dirname, 'source-disk', 'main.ts');
  const argv = [
    ...['setpriv', '--pdeathsig', 'KILL'],
    ...['unshare', '--mount-proc', '--pid', '--fork', '--kill-child=SIGKILL'],
    ...[process.execPath, main, kind, work],
  ];
  try {
    await run(argv, {
      timeoutMs: BUILD_LIMIT_MS,
      onOutput: (text) => text.split('\n').filter(Boolean).forEach(log),
      onStart: (child) => {
        builder = child;
      },
    });
    await publish();
  } finally {
    await remove();
  }
}

/** The folder of a build of this process, beside the one that it becomes. */
export function buildFolder(folder: string): string {
  return `${folder}.build-${process.pid}`;
}

/** Removes the builds of processes that are gone. */
export async function removeDeadBuilds(cacheFolder: string): Promise<void> {
  for (const name of await readdir(cacheFolder)) {
    const pid = /\.build-(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await removeBuild(join(cacheFolder, name));
  }
}

/** A build's loop device outlives its builder; its mounts do not. */
async function removeBuild(folder: string): Promise<void> {
  const diskPath = join(folder, 'disk.raw');
  if (existsSync(diskPath)) {
    const attached = await run(['losetup', '--noheadings', '--output', 'NAME', '--associated', diskPath]);
    for (const device of attached.split(/\s+/).filter(Boolean)) await run(['losetup', '--detach', device]);
  }
  await rm(folder, { recursive: true, force: true });
}
