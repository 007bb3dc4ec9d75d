/** A VM's serial console as its reader sees it. */
import { LibvirtError, VIR_ERR } from './error.ts';
import { startHelper } from './helper-process.ts';
import { type ConsoleMessage, type ConsoleStatus, fromFailure, STATUS_FD } from './protocol.ts';

/** How long opening a console may take, ms. */
const OPEN_DEADLINE_MS = 30_000;

/** An open console. Whoever opened it closes it, also after its end. Read on: while nobody reads, the guest's console output waits. */
export interface DomainConsole {
  /** The next bytes, undefined at the end or after close. Rejects with LibvirtError when the stream broke. */
  read(): Promise<Buffer | undefined>;
  close(): Promise<void>;
}

/** Opens the first serial console of a running or paused domain, taking it from whoever has it. Resolves once it is held. */
export async function openConsole(uri: string, domain: string): Promise<DomainConsole> {
  const { child, ended } = startHelper('console');
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  const statusPipe = child.stdio[STATUS_FD];
  const output = child.stdout;
  if (statusPipe === null || statusPipe === undefined || !('setEncoding' in statusPipe) || output === null) {
    await close();
    throw new Error('the console process has no pipes');
  }
  let failure: Error | undefined;
  let closed = false;
  const opened = new Promise<boolean>((resolve) => {
    let text = '';
    statusPipe.setEncoding('utf8').on('data', (piece: string) => {
      const lines = (text + piece).split('\n');
      text = lines.pop() ?? '';
      for (const line of lines) {
        const status = JSON.parse(line) as ConsoleStatus;
        if ('failure' in status) failure = fromFailure(status.failure);
        else resolve(true);
      }
    });
    void ended.then(() => resolve(false));
    setTimeout(() => resolve(false), OPEN_DEADLINE_MS).unref();
  });
  const pieces = output[Symbol.asyncIterator]();
  const first: ConsoleMessage = { uri, domain };
  child.send(first);
  if (!(await opened)) {
    await close();
    throw failure ?? lost(`the console did not open: ${await ended}`);
  }
  return {
    async read() {
      if (closed) return undefined;
      const next = (await pieces.next()) as IteratorResult<Buffer, undefined>;
      if (next.done !== true) return next.value;
      const how = await ended;
      if (closed) return undefined;
      if (failure !== undefined) throw failure;
      if (child.exitCode !== 0) throw lost(how);
      return undefined;
    },
    async close() {
      closed = true;
      await close();
    },
  };
}

function lost(message: string): LibvirtError {
  return new LibvirtError({
    code: VIR_ERR.RPC,
    domain: 0,
    message,
    call: 'virDomainOpenConsole',
    errno: 0,
    lost: true,
  });
}
