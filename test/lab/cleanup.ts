/**
 * What must be undone when this process ends: namespaces, mounts, loop devices, child processes. Entries run in reverse
 * order, once, each with a bound on its time; on SIGINT and SIGTERM, when the event loop runs dry, or by `runCleanups`.
 * A SIGKILL cannot be answered: what it leaves behind carries the process's name and is removed by the next lab.
 */

interface Entry {
  name: string;
  undo: () => Promise<void> | void;
  /** Set once it runs: whoever asks meanwhile waits for the same run. */
  running?: Promise<void>;
}

/** An entry that takes longer than this is given up and named on stderr, ms. */
const ENTRY_LIMIT_MS = 30_000;
const entries: Entry[] = [];
/** Off the list and not through yet, whoever began them: the process must not end before. */
const begun = new Set<Entry>();
let listening = false;
let interrupted: NodeJS.Signals | undefined;

/** The signal that this process is ending with, if one came. */
export function interruptedBy(): NodeJS.Signals | undefined {
  return interrupted;
}

/**
 * Registers an undo. Answers a function that runs it now and takes it off the list: call it where the thing is closed in
 * the ordinary way. It runs once, however often it is called; its failure rejects there and is printed on an exit.
 */
export function onExit(name: string, undo: () => Promise<void> | void): () => Promise<void> {
  listen();
  const entry: Entry = { name, undo };
  entries.push(entry);
  return () => start(entry);
}

/** Runs an entry once; a second call waits for the first. */
function start(entry: Entry): Promise<void> {
  const index = entries.indexOf(entry);
  if (index >= 0) entries.splice(index, 1);
  if (!entry.running) {
    entry.running = Promise.resolve().then(entry.undo);
    begun.add(entry);
    const over = () => void begun.delete(entry);
    entry.running.then(over, over);
  }
  return entry.running;
}

let draining: Promise<number> | undefined;

/**
 * Runs everything that is registered, last first. Failures are printed and do not stop the others. Answers how many failed. A call
 * while another runs waits for it: the main path that fails because of a signal must not exit before the signal's cleanup is through.
 */
export function runCleanups(): Promise<number> {
  draining ??= drain().finally(() => {
    draining = undefined;
  });
  return draining;
}

async function drain(): Promise<number> {
  let failed = 0;
  for (;;) {
    const entry = entries.at(-1) ?? begun.values().next().value;
    if (!entry) return failed;
    try {
      await bounded(entry);
    } catch (error) {
      failed += 1;
      console.error(`cleanup of ${entry.name} failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

async function bounded(entry: Entry): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${ENTRY_LIMIT_MS} ms`)), ENTRY_LIMIT_MS);
  });
  try {
    await Promise.race([start(entry), late]);
  } finally {
    clearTimeout(timer);
    // One that was given up is not waited for again.
    begun.delete(entry);
  }
}

function listen(): void {
  if (listening) return;
  listening = true;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      interrupted = signal;
      console.error(`\n${signal}: removing everything that was made`);
      // What runs meanwhile fails for want of what is being removed: that must not end the process before its cleanup.
      process.on('uncaughtException', (error) => console.error(`after ${signal}: ${error.message}`));
      // The default action of the signal follows the cleanup, so that the parent sees how this process ended.
      void runCleanups().finally(() => process.kill(process.pid, signal));
    });
  }
  process.on('beforeExit', () => {
    if (entries.length > 0) void runCleanups();
  });
}
