/** dd through ssh with AES-128-GCM, to an sshd of its own on loopback: its own host key, its own user key, one user. */
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { run } from '../../lab/command.ts';
import { freePort } from '../../real/transfer/transfer-lab.ts';
import type { Contender, Errand } from '../contender.ts';
import type { Trial } from '../trial.ts';

const CIPHER = 'aes128-gcm@openssh.com';
/** sshd wants to be started by its full path. */
const SSHD = '/usr/sbin/sshd';
/** Where Debian's sshd locks up its unprivileged half; made at boot where the service runs. */
const PRIVILEGE_SEPARATION = '/run/sshd';

/** `"$0"` is the source, the rest the command that reads it: no name becomes part of the script. */
const PIPE = 'dd if="$0" bs=1M status=none | "$@"';

async function startSshd(trial: Trial, { site, folder }: Errand): Promise<{ port: number; keys: string }> {
  const keys = join(folder, 'ssh');
  mkdirSync(keys, { mode: 0o700 });
  for (const name of ['host', 'user']) {
    await run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', join(keys, name)]);
  }
  const authorized = join(keys, 'authorized_keys');
  writeFileSync(authorized, readFileSync(join(keys, 'user.pub')));
  chmodSync(authorized, 0o600);
  mkdirSync(PRIVILEGE_SEPARATION, { recursive: true, mode: 0o755 });
  const port = await freePort();
  const pidFile = join(keys, 'sshd.pid');
  const config = join(keys, 'sshd_config');
  const lines = [
    `Port ${port}`,
    `ListenAddress ${site.sink.address}`,
    `HostKey ${join(keys, 'host')}`,
    `AuthorizedKeysFile ${authorized}`,
    `PidFile ${pidFile}`,
    `AllowUsers ${userInfo().username}`,
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UsePAM no',
    'StrictModes no',
    'PrintMotd no',
    `Ciphers ${CIPHER}`,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  await trial.ready(trial.start('sink', site.sink, [SSHD, '-D', '-e', '-f', config]), pidFile);
  writeFileSync(
    join(keys, 'known_hosts'),
    `[${site.sink.address}]:${port} ${readFileSync(join(keys, 'host.pub'), 'utf8')}`,
  );
  return { port, keys };
}

export const ssh: Contender = {
  id: 'ssh',
  name: 'dd | ssh, AES-128-GCM, no hashes',
  programs: ['dd', 'ssh', 'sshd', 'ssh-keygen'],
  copy: async (trial, errand) => {
    const { port, keys } = await startSshd(trial, errand);
    const { address } = errand.site.sink;
    const options = [
      `UserKnownHostsFile=${join(keys, 'known_hosts')}`,
      'StrictHostKeyChecking=yes',
      'BatchMode=yes',
      'IdentitiesOnly=yes',
      'Compression=no',
    ].flatMap((option) => ['-o', option]);
    const client = [
      'ssh',
      '-F',
      'none',
      '-i',
      join(keys, 'user'),
      '-p',
      String(port),
      '-c',
      CIPHER,
      ...options,
      address,
    ];
    // The paths are this bench's own; ssh gives its words to the other side's shell.
    const remote =
      errand.target === undefined
        ? ['dd', 'of=/dev/null', 'bs=1M', 'status=none']
        : [
            'dd',
            `of=${errand.target}`,
            'bs=1M',
            'iflag=fullblock',
            'oflag=direct',
            'conv=notrunc,fsync',
            'status=none',
          ];
    trial.begin();
    await trial.success(
      trial.start('source', errand.site.source, ['sh', '-c', PIPE, errand.source, ...client, ...remote]),
    );
    trial.end();
  },
};
