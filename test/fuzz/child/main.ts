/**
 * One target in a process of its own, which may hang or end by a signal: `fuzz TARGET SECONDS SEED`, `merge TARGET`, or
 * `replay TARGET FILE`. The result goes to the parent, or for `replay` to the terminal.
 */
import '../engine/hooks.ts';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Coverage } from '../engine/coverage.ts';
import { Current } from '../engine/current.ts';
import { CORPUS, currentFile, keep, OUT } from '../engine/files.ts';
import { Fuzzer } from '../engine/fuzzer.ts';
import { decode } from '../engine/records.ts';
import { filesOf } from '../targets/files.ts';

const [order = '', name = '', argument = '', seed = '1'] = process.argv.slice(2);
mkdirSync(OUT, { recursive: true });
// It must count before the files under test are imported.
const coverage = new Coverage(filesOf(name));
const { targets } = await import('../targets/index.ts');
const target = targets.find((one) => one.name === name);
if (!target) throw new Error(`There is no target '${name}'; there are ${targets.map((one) => one.name).join(', ')}.`);

if (order === 'replay') {
  console.log(target.run(decode(readFileSync(argument))));
} else {
  const current = new Current(currentFile(name));
  const fuzzer = new Fuzzer(target, coverage, current);
  const since = performance.now();
  const { added, failure } = fuzzer.warmUp(Fuzzer.inputs(target));
  if (order === 'merge' && !failure) {
    rmSync(join(CORPUS, name), { recursive: true, force: true });
    for (const input of added) keep(join(CORPUS, name), '', input);
  }
  const found = failure ?? (order === 'fuzz' ? fuzzer.fuzz(Number(argument), Number(seed)) : undefined);
  const source = (url: string): string => readFileSync(new URL(url), 'utf8');
  process.send?.(fuzzer.result((performance.now() - since) / 1000, found, source));
  current.close();
  process.disconnect?.();
  // TLS contexts and readers are the process's: it ends here.
  process.exitCode = found ? 1 : 0;
}
