/**
 * What must be undone when this process ends: namespaces, mounts, loop devices, child processes. Entries run in reverse
 * order, once, each with a bound on its time; on SIGINT and SIGTERM, when the event loop runs dry, or by `runCleanups`.
 * A SIGKILL cannot be answered: what it leaves behind carries the process's name and is removed by the next lab.
 */

interface Entry {
  name: string;
  undo: () => Promise<void> | void;
}

/** An entry that takes longer than this is given up and named on stderr, ms. */
const ENTRY_LIMIT_MS = 30_000;
const entries: Entry[] = [];
let listening = false;

/**
 * Registers an undo. Answers a function that runs it now and takes it off the list: call it where the thing is closed in
 * the ordinary way. It runs once, however often it is called; its failure rejects there and is printed on an exit.
 */
export function onExit(name: string, undo: () => Promise<void> | void): () => Promise<void> {
  listen();
  const entry: Entry = { name, undo };
  entries.push(entry);
  return async () => {
    const index = entries.indexOf(entry);
    if (index < 0) return;
    entries.splice(index, 1);
    await undo();
  };
}

/** Runs everything that is registered, last first. Failures are printed and do not stop the others. Answers how many failed. */
export async function runCleanups(): Promise<number> {
  let failed = 0;
  for (let entry = entries.pop(); entry; entry = entries.pop()) {
    try {
      await bounded(entry);
    } catch (error) {
      failed += 1;
      console.error(`cleanup of ${entry.name} failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return failed;
}

async function bounded(entry: Entry): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${ENTRY_LIMIT_MS} ms`)), ENTRY_LIMIT_MS);
  });
  try {
    await Promise.race([Promise.resolve(entry.undo()), late]);
  } finally {
    clearTimeout(timer);
  }
}

function listen(): void {
  if (listening) return;
  listening = true;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
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
