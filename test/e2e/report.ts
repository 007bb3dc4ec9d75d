/** What a clone must be able to say of itself at its end; the same facts go to the table on the screen and to report.json. */

export interface PhaseRow {
  phase: string;
  seconds: number;
  bytesRead: number | null;
  bytesOnWire: number | null;
  /** Bytes that the phase moved or checked per second, in 10^6 bytes. */
  megabytesPerSecond: number | null;
  proof: string;
}

export interface CloneFacts {
  firmware: 'bios' | 'uefi';
  jobId: string;
  /** SHA-256 of the whole source disk before anything booted and after everything was done. */
  sourceSha256Before: string;
  sourceSha256After: string;
  /** SHA-256 over all blocks in use, by independent tools. */
  usedSha256Source: string;
  usedSha256Replica: string;
  /** Bytes in use by independent tools, and by the agent's allocation map. */
  witnessedUsedBytes: number;
  usedBytes: number;
  wireBytes: number;
  readBytes: number;
  /** The receiver's manifest: SHA-256 over its list of hashes, compared with the agent's by re-reading. */
  manifestSha256: string;
  acceleration: string;
  loginPrompt: string;
  screenshot: string;
  /** Seen inside the running target VM, over its kept address. */
  target: {
    hostName: string;
    address: string;
    nicName: string;
    filesVerified: number;
    rootSource: string;
    kernelCommandLine: string;
    systemState: string;
  };
}

/** What the source machine says of itself: the target must say the same. */
export interface ExpectedTarget {
  hostName: string;
  /** IPv4 without prefix length. */
  address: string;
  nicName: string;
  /** Files of the manifest. */
  files: number;
}

export interface CloneReport {
  startedAt: string;
  endedAt: string;
  rows: PhaseRow[];
  facts: CloneFacts;
}

/** The order allows this much on the wire above the bytes in use: headers, TLS records, requests. */
const WIRE_RATIO_MAX = 1.15;

/** Everything that is missing or does not hold: one sentence each. An empty list is a proven clone. */
export function whatIsMissing(report: CloneReport, expected: ExpectedTarget): string[] {
  const { facts } = report;
  const missing: string[] = [];
  const must = (holds: boolean, sentence: string) => {
    if (!holds) missing.push(sentence);
  };
  must(facts.sourceSha256Before === facts.sourceSha256After, "the source disk's SHA-256 changed");
  must(
    facts.usedSha256Source === facts.usedSha256Replica,
    'the replica differs from the source in blocks that are in use',
  );
  must(/^[0-9a-f]{64}$/.test(facts.manifestSha256), 'there is no manifest of the copy');
  must(
    facts.wireBytes > 0 && facts.wireBytes <= WIRE_RATIO_MAX * facts.usedBytes,
    `${facts.wireBytes} bytes on the wire for ${facts.usedBytes} bytes in use`,
  );
  must(
    facts.usedBytes >= facts.witnessedUsedBytes,
    `the agent's map says ${facts.usedBytes} bytes are in use, independent tools say ${facts.witnessedUsedBytes}`,
  );
  must(facts.readBytes > 0, 'nobody says how much was read from the source');
  must(/ login:$/.test(facts.loginPrompt), 'the target VM showed no login prompt');
  must(facts.screenshot !== '', "there is no screenshot of the target VM's screen");
  must(facts.target.hostName === expected.hostName, `the target calls itself '${facts.target.hostName}'`);
  must(facts.target.address.startsWith(`${expected.address}/`), `the target's address is '${facts.target.address}'`);
  must(facts.target.nicName === expected.nicName, `the target's NIC is called '${facts.target.nicName}'`);
  must(
    facts.target.filesVerified === expected.files && expected.files > 0,
    `${facts.target.filesVerified} of ${expected.files} files verified inside the target`,
  );
  must(facts.target.rootSource.startsWith('/dev/vd'), `the target's root is on '${facts.target.rootSource}'`);
  must(/console=ttyS0/.test(facts.target.kernelCommandLine), 'the target has no serial console');
  must(facts.target.systemState === 'running', `systemd in the target says '${facts.target.systemState}'`);
  must(report.rows.length > 0 && report.rows.every((row) => row.seconds >= 0), 'a phase has no duration');
  return missing;
}

function mebibytes(bytes: number | null): string {
  return bytes === null ? '' : `${(bytes / 1048576).toFixed(1)} MiB`;
}

/** The table for the screen, one line a phase. */
export function renderTable(rows: readonly PhaseRow[]): string {
  const cells = [
    ['phase', 'seconds', 'read', 'on the wire', 'MB/s', 'proof'],
    ...rows.map((row) => [
      row.phase,
      row.seconds.toFixed(1),
      mebibytes(row.bytesRead),
      mebibytes(row.bytesOnWire),
      row.megabytesPerSecond === null ? '' : row.megabytesPerSecond.toFixed(1),
      row.proof,
    ]),
  ];
  const widths = cells[0]?.map((_, column) => Math.max(...cells.map((line) => line[column]?.length ?? 0))) ?? [];
  const draw = (line: string[]) =>
    line
      .map((cell, column) =>
        column === 0 || column === 5 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  const [head, ...body] = cells.map(draw);
  return [head, '-'.repeat(head?.length ?? 0), ...body].join('\n');
}
