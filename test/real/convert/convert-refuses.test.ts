import assert from 'node:assert/strict';
import { mkdir, open, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { StepReport } from '../../../appliance/api/control.ts';
import { type ErrorCode, RehostError } from '../../../appliance/api/errors.ts';
import { run, runAny } from '../../lab/command.ts';
import { convert, leftMounts, mounted, smallDisk, type TestDisk } from './guest-disks.ts';

const DEBIAN = {
  'etc/os-release': 'ID=debian\nPRETTY_NAME="Debian of the test"\n',
  'etc/fstab': '/dev/sda / ext4 defaults 0 1\n',
};

async function refused(disk: TestDisk, code: ErrorCode, words: RegExp): Promise<StepReport[]> {
  const steps: StepReport[] = [];
  await assert.rejects(convert(disk, {}, { steps }), (error) => {
    assert.ok(error instanceof RehostError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, words);
    return true;
  });
  assert.deepEqual(await leftMounts(disk), [], 'nothing stays mounted');
  return steps;
}

async function using(disk: TestDisk, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } finally {
    await disk.remove();
  }
}

void test('convert refuses a damaged ext4', async () => {
  const disk = await smallDisk('ext4', DEBIAN);
  await using(disk, async () => {
    // The inode of /etc as a free, zeroed one: a folder with content that is no folder any more.
    await run(['debugfs', '-w', '-R', 'clri /etc', disk.loop.device]);
    await run(['debugfs', '-w', '-R', 'set_inode_field / links_count 77', disk.loop.device]);
    const steps = await refused(disk, 'FILESYSTEM_DAMAGED', /ext4 file system on \/dev\/sda is damaged/);
    assert.deepEqual(
      steps.map((step) => [step.step, step.outcome]),
      [['check-before', 'failed']],
    );
  });
});

void test('convert refuses a damaged XFS', async () => {
  const disk = await smallDisk('xfs', DEBIAN);
  await using(disk, async () => {
    const file = await open(disk.loop.device, 'r+');
    try {
      // The header of the second allocation group's free-space tree (sector 1 of the group); 4 groups of equal size.
      const { size } = await stat(disk.path);
      await file.write(Buffer.alloc(2048, 0xa5), 0, 2048, size / 4 + 512);
      await file.sync();
    } finally {
      await file.close();
    }
    await refused(disk, 'FILESYSTEM_DAMAGED', /xfs file system on \/dev\/sda/);
  });
});

void test('convert replays the journal that a power cut leaves', async () => {
  const disk = await smallDisk('ext4', DEBIAN);
  await using(disk, async () => {
    const copy = join(disk.folder, 'crashed.raw');
    await mounted(disk.loop.device, async (point) => {
      await run(['cp', join(point, 'etc/os-release'), join(point, 'late')]);
      await run(['sync']);
      // The disk as it is in this instant, mounted: the journal holds what the file system does not yet.
      await run(['cp', '--sparse=always', disk.path, copy]);
    });
    await run(['dd', `if=${copy}`, `of=${disk.loop.device}`, 'bs=1M', 'conv=fsync', 'status=none']);
    const steps: StepReport[] = [];
    await convert(disk, {}, { steps });
    assert.equal(steps[0]?.outcome, 'changed');
    assert.match(steps[0]?.detail ?? '', /journal replayed/);
    await mounted(disk.loop.device, (point) => run(['test', '-s', join(point, 'late')]));
    assert.equal((await runAny(['e2fsck', '-f', '-n', disk.loop.device])).code, 0);
  });
});

void test('convert converts a root on XFS and one on a btrfs subvolume', async () => {
  for (const fileSystem of ['xfs', 'btrfs'] as const) {
    const files = {
      'etc/os-release': DEBIAN['etc/os-release'],
      'etc/fstab': `/dev/sda / ${fileSystem} defaults 0 1\n`,
    };
    const prefix = fileSystem === 'btrfs' ? '@rootfs/' : '';
    const placed = Object.fromEntries(Object.entries(files).map(([path, text]) => [`${prefix}${path}`, text]));
    const disk = await smallDisk(fileSystem, fileSystem === 'btrfs' ? {} : placed);
    await using(disk, async () => {
      if (fileSystem === 'btrfs') {
        await mounted(disk.loop.device, async (point) => {
          await run(['btrfs', 'subvolume', 'create', join(point, '@rootfs')]);
          await mkdir(join(point, '@rootfs/etc'));
          for (const [path, text] of Object.entries(placed)) await run(['tee', join(point, path)], { input: text });
        });
      }
      const { guest } = await convert(disk);
      assert.equal(guest, 'Debian of the test');
      await mounted(disk.loop.device, async (point) => {
        assert.match(await readFile(join(point, `${prefix}etc/fstab`), 'utf8'), /^UUID=[0-9a-f-]{36} \/ /);
      });
    });
  }
});

void test('convert changes the files of /etc/default/grub.d that grub-mkconfig reads, and no others', async () => {
  const line = 'GRUB_CMDLINE_LINUX="root=/dev/sda"\n';
  const folder = 'etc/default/grub.d';
  const disk = await smallDisk('ext4', { ...DEBIAN, [`${folder}/50-x.cfg`]: line, [`${folder}/README`]: line });
  await using(disk, async () => {
    await convert(disk);
    await mounted(disk.loop.device, async (point) => {
      const text = async (name: string): Promise<string> => await readFile(join(point, folder, name), 'utf8');
      assert.match(
        await text('50-x.cfg'),
        /^GRUB_CMDLINE_LINUX="root=UUID=[0-9a-f-]{36} console=ttyS0,115200 console=tty0"\n$/,
      );
      assert.equal(await text('50-x.cfg.rehost-orig'), line);
      assert.equal(await text('README'), line);
    });
  });
});

void test('convert says what it found instead of a Debian', async () => {
  const fedora = await smallDisk('ext4', { 'etc/os-release': 'ID=fedora\nPRETTY_NAME="Fedora Linux 42"\n' });
  await using(fedora, async () => {
    const steps = await refused(fedora, 'GUEST_UNSUPPORTED', /found Fedora Linux 42 on \/dev\/sda/);
    assert.equal(steps.at(-1)?.outcome, 'failed');
  });
  const empty = await smallDisk('ext4', {});
  await using(empty, async () => void (await refused(empty, 'GUEST_UNSUPPORTED', /found ext4 on \/dev\/sda/)));
});

void test('convert refuses a hibernated guest', async () => {
  const disk = await smallDisk('ext4', {});
  await using(disk, async () => {
    // A swap header whose signature the kernel replaced when it saved its memory (kernel/power/swap.c).
    await run(['mkswap', '-f', disk.loop.device]);
    const file = await open(disk.loop.device, 'r+');
    await file.write(Buffer.from('S1SUSPEND\0'), 0, 10, 4096 - 10);
    await file.sync();
    await file.close();
    await refused(disk, 'GUEST_UNSUPPORTED', /hibernated/);
  });
});

void test('convert never leaves the guest through its symlinks', async () => {
  const outside = '/run/rehost-convert-outside';
  const up = '../../../../../../../..';
  const disk = await smallDisk(
    'ext4',
    { 'real/os-release': DEBIAN['etc/os-release'] },
    {
      fill: async (root) => {
        // Every file and folder that a step reads, writes or makes is a way out, absolute or by dots.
        await symlink('/real', join(root, 'etc'));
        await symlink(`${up}${outside}/fstab`, join(root, 'real/fstab'));
        await symlink(outside, join(root, 'boot'));
        await mkdir(join(root, 'real/default'));
        await symlink(`${up}/etc/hostname`, join(root, 'real/default/grub'));
        await symlink(`..${outside}`, join(root, 'real/systemd'));
        await symlink(`/etc/network/${up}${outside}/inittab`, join(root, 'real/inittab'));
        // What the guest sees at these paths is its own, so that the steps have something to write to.
        await mkdir(join(root, outside), { recursive: true });
        await writeFile(join(root, `${outside}/inittab`), 'id:2:initdefault:\n');
        await writeFile(join(root, `${outside}/fstab`), '/dev/sda / ext4 defaults 0 1\n');
      },
    },
  );
  await using(disk, async () => {
    await mkdir(outside);
    try {
      for (const name of ['fstab', 'inittab']) await writeFile(join(outside, name), 'the host');
      const watched = [
        '/etc',
        '/etc/fstab',
        '/etc/hostname',
        '/boot',
        outside,
        join(outside, 'fstab'),
        join(outside, 'inittab'),
      ];
      const facts = async (): Promise<string> => (await runAny(['stat', '-c', '%n %i %s %Y %Z', ...watched])).stdout;
      const before = await facts();
      const { steps } = await convert(disk, { nics: [{ name: 'eno1', mac: '52:54:00:00:00:01' }] });
      const changed = steps.filter((step) => step.outcome === 'changed').map((step) => step.step);
      assert.deepEqual(changed, ['fstab-uuids', 'nic-names', 'serial-getty']);
      assert.equal(await facts(), before, 'the host is as it was');
      await mounted(disk.loop.device, async (point) => {
        assert.match(await readFile(join(point, outside, 'fstab'), 'utf8'), /^UUID=/);
        assert.match(await readFile(join(point, outside, 'network/10-rehost-eno1.link'), 'utf8'), /Name=eno1/);
        assert.match(await readFile(join(point, outside, 'inittab'), 'utf8'), /ttyS0/);
      });
      assert.deepEqual(await leftMounts(disk), []);
    } finally {
      await run(['rm', '-r', outside]);
    }
  });
});

void test('convert refuses a guest whose links go in circles', async () => {
  const disk = await smallDisk(
    'ext4',
    { 'os-release': DEBIAN['etc/os-release'] },
    {
      fill: async (root) => {
        await symlink('/', join(root, 'etc'));
        await symlink('../../../etc/fstab', join(root, 'fstab'));
      },
    },
  );
  await using(disk, async () => void (await refused(disk, 'CONVERSION_FAILED', /"\/etc\/fstab" cannot be resolved/)));
});

void test('convert stops when it is told to, with nothing mounted', async () => {
  const disk = await smallDisk('ext4', DEBIAN);
  await using(disk, async () => {
    const abort = new AbortController();
    const steps: StepReport[] = [];
    const running = convert(disk, {}, { steps: observed(steps, () => abort.abort()), signal: abort.signal });
    await assert.rejects(running, (error) => error instanceof RehostError && error.code === 'JOB_CANCELLED');
    assert.deepEqual(
      steps.map((step) => step.step),
      ['check-before', 'find-guest'],
    );
    assert.deepEqual(await leftMounts(disk), []);
  });
});

/** Calls `then` once the guest is mounted. */
function observed(steps: StepReport[], then: () => void): StepReport[] {
  const push = steps.push.bind(steps);
  steps.push = (...items) => {
    if (items.some((item) => item.step === 'find-guest')) then();
    return push(...items);
  };
  return steps;
}
