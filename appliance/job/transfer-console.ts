/** The transfer VM's serial console in the job's log, for as long as the VM and the run of its job live: a kernel's last words say why it ended. */
import type { ConsoleReader, HypervisorDriver } from '../hypervisor/driver.ts';
import { type Follower, follow } from './console-log.ts';
import type { JobLog } from './log.ts';

/** A console that could not be opened is tried again after this, ms: each try is a process. */
const REOPEN_MS = 30_000;

/** Of one run of a job; disposing of it lets the console go and leaves the VM alone. */
export class TransferConsole implements AsyncDisposable {
  readonly #log: JobLog;
  #follower: Follower | undefined;
  #opening: Promise<void> | undefined;
  /** performance.now(), ms. */
  #notBefore = 0;

  constructor(log: JobLog) {
    this.#log = log;
  }

  /** Follows this console from now on, in place of the one before. Takes ownership of it. */
  async follow(reader: ConsoleReader): Promise<void> {
    await this[Symbol.asyncDispose]();
    this.#listen(reader);
  }

  #listen(reader: ConsoleReader): void {
    this.#follower = follow(
      reader,
      (bytes) => this.#log.console('transfer', bytes),
      (error) => this.#log.error("the transfer VM's console ended", error),
    );
  }

  /**
   * Opens the console of a running VM again where nobody follows it: the orchestrator or the hypervisor's daemon was started anew. It is
   * a help for people: nobody waits for it, and that it cannot be opened is told in the log.
   */
  ensure(driver: HypervisorDriver, vm: string): void {
    if (this.#follower?.following || this.#opening || performance.now() < this.#notBefore) return;
    this.#opening = this.#open(driver, vm).finally(() => {
      this.#opening = undefined;
    });
  }

  async #open(driver: HypervisorDriver, vm: string): Promise<void> {
    try {
      const reader = await driver.console(vm);
      await this.#follower?.[Symbol.asyncDispose]();
      this.#listen(reader);
    } catch (error) {
      this.#notBefore = performance.now() + REOPEN_MS;
      this.#log.error("the transfer VM's console cannot be followed", error);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opening;
    const follower = this.#follower;
    this.#follower = undefined;
    await follower?.[Symbol.asyncDispose]();
  }
}
