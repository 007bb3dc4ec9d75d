import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { test } from 'node:test';
import { runInGuest } from '../../../receiver/convert/guest-program.ts';
import { leftMounts, mounted, sourceCopy } from './guest-disks.ts';

/** A file of this host, outside of the guest's root. */
const OUTSIDE = `/run/rehost-escaped-${process.pid}`;

/**
 * What a hostile guest would try, in the one language that every Debian has. Each attempt prints its name and the error,
 * or `done`. Numbers of system calls: x86-64's syscall_64.tbl; CLONE_NEWUSER is 0x10000000 and MS_BIND 4096.
 */
const HOSTILE = `
sub said { my ($name, $done) = @_; print "$name: ", ($done ? "done" : $!), "\\n"; }
sub opened { my ($name, $mode, $path) = @_; said($name, open(my $file, $mode, $path)); }
mkdir "/var/tmp/hole";
said("chroot", chroot("/var/tmp/hole"));
chdir("..") for 1 .. 40;
chroot(".");
opened("outside", ">", ".$ARGV[0]");
opened("core-pattern", ">>", "./proc/sys/kernel/core_pattern");
opened("core-pattern-own", ">>", "/proc/sys/kernel/core_pattern");
opened("process", ">>", "/proc/self/oom_score_adj");
opened("sysfs", ">>", "/sys/class/net/lo/ifalias");
my ($proc, $sys, $none, $device) = ("/proc", "/sys", "none", "/var/tmp/device");
said("unshare-user", syscall(272, 0x10000000) == 0);
said("mount", syscall(165, $proc, $sys, $none, 4096, 0) == 0);
said("umount", syscall(166, $proc, 2) == 0);
said("mknod", syscall(133, $device, 060600, 0) == 0);
opened("status", "<", "/proc/self/status");
open(my $status, "<", "/proc/self/status");
print grep { /^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs)/ } <$status>;
print "cwd: ", readlink("/proc/self/cwd"), "\\n";
opendir(my $root, "/proc/1/root/..");
print "root: ", join(" ", sort grep { /^(etc|usr|var)$/ } readdir($root)), "\\n";
opened("own-file", ">", "/var/tmp/own");
said("chown", chown(1, 1, "/var/tmp/own") == 1);
`;

void test('convert: a hostile program of the guest stays in its root and gets nothing of the machine', async () => {
  const disk = await sourceCopy('bios');
  try {
    await mounted(disk.loop.partition(2), async (root) => {
      const { code, stdout, stderr } = await runInGuest({
        root,
        devices: [],
        argv: ['/usr/bin/perl', '-e', HOSTILE, OUTSIDE],
        timeoutMs: 120_000,
      });
      assert.equal(code, 0, stderr);
      const said = new Map(
        stdout.split('\n').map((line): [string, string] => {
          const [name = '', ...rest] = line.split(/:\s+/);
          return [name, rest.join(': ')];
        }),
      );
      assert.equal(existsSync(OUTSIDE), false, 'nothing was written outside of the guest');
      const denied = 'Operation not permitted';
      assert.equal(said.get('chroot'), denied);
      assert.equal(said.get('unshare-user'), denied);
      assert.equal(said.get('mount'), denied);
      assert.equal(said.get('umount'), denied);
      assert.equal(said.get('mknod'), denied);
      for (const name of ['core-pattern', 'core-pattern-own', 'process', 'sysfs']) {
        assert.match(said.get(name) ?? '', /^Read-only file system$/, name);
      }
      // chown (0), dac_override (1), fowner (3) and fsetid (4), by their bits of linux/capability.h.
      for (const set of ['CapInh', 'CapPrm', 'CapEff']) assert.equal(said.get(set), '000000000000001b', set);
      for (const set of ['CapBnd', 'CapAmb']) assert.equal(said.get(set), '0000000000000000', set);
      assert.equal(said.get('NoNewPrivs'), '1');
      assert.equal(said.get('root'), 'etc usr var', "the process's root is the guest's");
      // What a program needs to do its work is there.
      for (const name of ['status', 'own-file', 'chown']) assert.equal(said.get(name), 'done', name);
      assert.equal(existsSync(`${root}/var/tmp/own`), true);
    });
    assert.deepEqual(await leftMounts(disk), []);
  } finally {
    await rm(OUTSIDE, { force: true });
    await disk.remove();
  }
});
