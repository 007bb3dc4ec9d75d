/** A file whose content an NBD server makes: storage that hangs or fails as a test wants it. */
import { type ChildProcess, execFileSync } from 'node:child_process';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { kill, type Lab, until } from './transfer-lab.ts';

/** An nbdkit with this plugin as a file (FUSE). What is undone first lets go of it. */
export async function servedFile(
  lab: Lab,
  sizeBytes: number,
  plugin: string[],
): Promise<{ path: string; server: ChildProcess }> {
  const socket = lab.path('socket');
  const server = lab.start('nbdkit', ['-f', '-U', socket, ...plugin]);
  await until('the server listens', () => existsSync(socket));
  const path = lab.path('fuse');
  writeFileSync(path, '');
  const fuse = lab.start('nbdfuse', [path, '--unix', socket]);
  lab.later(async () => {
    server.kill('SIGCONT');
    execFileSync('umount', ['--lazy', path]);
    await kill(fuse);
  });
  await until('it is a file', () => statSync(path).size === sizeBytes);
  return { path, server };
}

/** Words of dd(1) for the scripts of nbdkit's eval plugin. */
export const DD = 'iflag=skip_bytes,count_bytes oflag=seek_bytes status=none conv=notrunc';

/** A file before which `pread` and `pwrite` (shell, may be empty) decide: whoever exits says there what the storage says, `EIO` for one. */
export async function scriptedFile(
  lab: Lab,
  backing: string,
  scripts: { pread?: string; pwrite?: string; flush?: string },
): Promise<string> {
  const { size } = statSync(backing);
  const { path } = await servedFile(lab, size, [
    'eval',
    `get_size=echo ${size}`,
    `pread=${scripts.pread ?? ''}\ndd if=${backing} skip=$4 count=$3 ${DD}`,
    `pwrite=${scripts.pwrite ?? ''}\ndd of=${backing} seek=$4 ${DD}`,
    `flush=${scripts.flush ?? ''}\n:`,
  ]);
  return path;
}
