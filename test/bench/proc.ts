/** What the kernel says of processes and of the machine: proc(5). */
import { readdirSync, readFileSync } from 'node:fs';

/** Clock ticks per second of every Linux that Node runs on (sysconf(_SC_CLK_TCK)). */
const TICKS = 100;

/** The file's text; undefined when its process is gone. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** CPU seconds of a process and of its children that ended and were waited for; undefined when it is gone. Resolution 10 ms. */
export function cpuSeconds(pid: number): number | undefined {
  return sumOfFields(pid, 11, 15);
}

/** CPU seconds of this process's children that ended and were waited for. */
export function endedChildrenSeconds(): number {
  return sumOfFields(process.pid, 13, 15) ?? 0;
}

function sumOfFields(pid: number, from: number, to: number): number | undefined {
  const stat = read(`/proc/${pid}/stat`);
  // The name in field 2 may hold spaces; it ends with the last bracket. utime, stime, cutime, cstime are fields 14 to 17.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields?.slice(from, to).reduce((sum, ticks) => sum + Number(ticks) / TICKS, 0);
}

/** The largest resident set that the process had, bytes; undefined when it is gone. */
export function peakRssBytes(pid: number): number | undefined {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1];
  return kib === undefined ? undefined : Number(kib) * 1024;
}

/** The processes that this one started, and theirs. */
export function descendants(pid: number): number[] {
  const found: number[] = [];
  const waiting = [pid];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const children = childrenOf(next);
    found.push(...children);
    waiting.push(...children);
  }
  return found;
}

function childrenOf(pid: number): number[] {
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    // It is gone.
    return [];
  }
  return threads.flatMap((thread) =>
    (read(`/proc/${pid}/task/${thread}/children`) ?? '').split(' ').filter(Boolean).map(Number),
  );
}

/** Seconds for which the machine's CPUs were busy since it started, whoever used them, kernel threads and interrupts too. */
export function busySeconds(): number {
  const fields =
    /^cpu +(.*)$/m
      .exec(read('/proc/stat') ?? '')?.[1]
      ?.split(' ')
      .map(Number) ?? [];
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = fields;
  return (user + nice + system + irq + softirq) / TICKS;
}

/** Processes that wanted to run, on average over the last minute. */
export function load(): number {
  return Number(read('/proc/loadavg')?.split(' ')[0]);
}
