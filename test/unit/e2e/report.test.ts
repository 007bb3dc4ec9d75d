import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CloneReport, renderTable, whatIsMissing } from '../../e2e/report.ts';

const EXPECTED = { hostName: 'db1', address: '10.77.0.60', nicName: 'ens3', files: 7 };

function proven(): CloneReport {
  const sha = 'a'.repeat(64);
  return {
    startedAt: '2026-01-01T00:00:00.000Z',
    endedAt: '2026-01-01T00:10:00.000Z',
    rows: [{ phase: 'copy', seconds: 30, bytesRead: 1000, bytesOnWire: 1100, megabytesPerSecond: 33, proof: '' }],
    facts: {
      firmware: 'bios',
      jobId: 'abcdef12',
      sourceSha256Before: sha,
      sourceSha256After: sha,
      usedSha256Source: sha,
      usedSha256Replica: sha,
      witnessedUsedBytes: 900,
      usedBytes: 1000,
      wireBytes: 1100,
      readBytes: 1000,
      manifestSha256: sha,
      acceleration: 'tcg',
      loginPrompt: 'db1 login:',
      screenshot: 'screenshot.png',
      target: {
        hostName: 'db1',
        address: '10.77.0.60/24',
        nicName: 'ens3',
        filesVerified: 7,
        rootSource: '/dev/vda2',
        kernelCommandLine: 'console=tty0 console=ttyS0,115200',
        systemState: 'running',
      },
    },
  };
}

test('report: a proven clone misses nothing', () => {
  assert.deepEqual(whatIsMissing(proven(), EXPECTED), []);
});

for (const [what, spoil] of [
  ['a source that changed', (report) => (report.facts.sourceSha256After = 'b'.repeat(64))],
  ['a replica that differs', (report) => (report.facts.usedSha256Replica = 'b'.repeat(64))],
  ['no manifest', (report) => (report.facts.manifestSha256 = '')],
  ['too much on the wire', (report) => (report.facts.wireBytes = 1151)],
  ['a map that leaves blocks out', (report) => (report.facts.witnessedUsedBytes = 1001)],
  ['no login prompt', (report) => (report.facts.loginPrompt = '')],
  ['another host name', (report) => (report.facts.target.hostName = 'localhost')],
  ['another address', (report) => (report.facts.target.address = '10.77.0.6/24')],
  ['another NIC name', (report) => (report.facts.target.nicName = 'enp1s0')],
  ['a file too few', (report) => (report.facts.target.filesVerified = 6)],
  ['a root on the source disk', (report) => (report.facts.target.rootSource = '/dev/sda2')],
  ['a degraded system', (report) => (report.facts.target.systemState = 'degraded')],
] as [string, (report: CloneReport) => void][]) {
  test(`report: ${what} is named`, () => {
    const report = proven();
    spoil(report);
    assert.equal(whatIsMissing(report, EXPECTED).length, 1);
  });
}

test('report: the table has a line a phase, its columns aligned', () => {
  const lines = renderTable(proven().rows).split('\n');
  assert.equal(lines.length, 3);
  assert.match(lines[0] ?? '', /^phase +seconds +read +on the wire +MB\/s +proof$/);
  assert.match(lines[2] ?? '', /^copy +30\.0 /);
});
