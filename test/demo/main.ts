/**
 * `make demo`: clones one machine for real and proves it. Exit code 0 only when every fact of the report is there and holds.
 * Usage: main.ts [bios|uefi]
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { RehostError, toWire } from '../../appliance/api/errors.ts';
import { cloneOneMachine } from '../e2e/clone.ts';
import { renderTable, whatIsMissing } from '../e2e/report.ts';
import { interruptedBy, runCleanups } from '../lab/cleanup.ts';
import { Screen } from './screen.ts';

const REPOSITORY = resolve(import.meta.dirname, '../..');
const OUT = join(REPOSITORY, 'out/demo');

async function demo(kind: 'bios' | 'uefi', screen: Screen): Promise<number> {
  screen.block(
    `Rehost demo: a ${kind.toUpperCase()} machine is network-booted, copied, verified, converted and booted again.`,
  );
  screen.block('Everything runs under emulation in a network namespace of its own; Ctrl-C removes all of it.\n');
  const { report, expected } = await cloneOneMachine({
    kind,
    images: join(REPOSITORY, 'out/images'),
    keepIn: OUT,
    listener: { step: (text) => screen.line(text), progress: (fraction, text) => screen.progress(fraction, text) },
  });
  const missing = whatIsMissing(report, expected);
  await writeFile(join(OUT, 'report.json'), `${JSON.stringify({ ...report, missing }, undefined, 2)}\n`);
  const { facts } = report;
  screen.block(`\n${renderTable(report.rows)}\n`);
  screen.block(`source disk     unchanged, sha256 ${facts.sourceSha256Before.slice(0, 32)}`);
  screen.block(`replica         equal in all ${facts.witnessedUsedBytes} bytes that independent tools call in use`);
  screen.block(
    `on the wire     ${(facts.wireBytes / facts.usedBytes).toFixed(3)} x bytes in use (${facts.usedBytes}), encrypted`,
  );
  screen.block(
    `target VM       ${facts.target.hostName}, ${facts.target.nicName} ${facts.target.address}, root ${facts.target.rootSource}, systemd ${facts.target.systemState}`,
  );
  screen.block(
    `files           ${facts.target.filesVerified} of ${expected.files} verified by their SHA-256 inside the target VM`,
  );
  screen.block(`acceleration    ${facts.acceleration}`);
  screen.block(
    'kept            out/demo: report.json, jobs/*/{log.txt,screenshot.png,*.console}, source.console, orchestrator.log',
  );
  for (const sentence of missing) screen.block(`MISSING: ${sentence}`);
  screen.block(missing.length === 0 ? '\nProven: the copy boots, and it is the source.' : '\nNot proven.');
  return missing.length === 0 ? 0 : 1;
}

/** After Ctrl-C whatever was under way fails: that is no error to show. Everything is removed, then the signal ends the process. */
async function leaveToSignal(): Promise<void> {
  const signal = interruptedBy();
  if (!signal) return;
  await runCleanups();
  process.kill(process.pid, signal);
}

const kind = process.argv[2] ?? 'bios';
if (kind !== 'bios' && kind !== 'uefi') {
  console.error(`demo: '${kind}' is no kind of source machine: bios or uefi`);
  process.exit(2);
}
// What an earlier run left would be mixed with this one's.
await rm(OUT, { recursive: true, force: true });
await mkdir(OUT, { recursive: true });
const screen = new Screen();
let code = 1;
try {
  if (process.getuid?.() !== 0)
    throw new RehostError('TOOL_FAILED', 'The demo makes network namespaces and virtual machines: it needs root.', {
      next: 'Run make demo as root.',
    });
  code = await demo(kind, screen);
} catch (error) {
  await leaveToSignal();
  const { code: name, message, safe, next } = toWire(error);
  screen.block(`demo: ${name}: ${message}\n  safe: ${safe}\n  next: ${next}`);
  if (!(error instanceof RehostError) && error instanceof Error)
    screen.block(error.stack?.slice(error.message.length) ?? '');
}
if ((await runCleanups()) > 0) code = 1;
process.exit(code);
