/** What changed, for clients that follow along: a bounded memory of events with a cursor that grows by one. */
import type { ApiEvent } from './api/rest.ts';

/** A client that was away for more events than this looks at everything again. */
const KEPT_EVENTS = 1024;

type What = Pick<ApiEvent, 'kind' | 'id'>;

export class EventHub {
  /**
   * A restart begins at the time in ms, which is above every cursor of the run before (it never had an event each millisecond),
   * so that a cursor of an earlier run is recognised as too old instead of being taken for one of this run.
   */
  #cursor = Date.now();
  readonly #kept: ApiEvent[] = [];
  readonly #listeners = new Set<(event: ApiEvent) => void>();
  readonly #everything: () => What[];

  /** `everything` names each machine and job that there is. */
  constructor(everything: () => What[]) {
    this.#everything = everything;
  }

  publish(kind: ApiEvent['kind'], id: string): void {
    const event = this.#event({ kind, id }, ++this.#cursor);
    this.#kept.push(event);
    if (this.#kept.length > KEPT_EVENTS) this.#kept.shift();
    for (const listener of this.#listeners) listener(event);
  }

  /**
   * Every event after the cursor, then each one as it happens; answers how to stop. Where the cursor is not of this run or too
   * old, one event for everything there is comes first. Without a cursor only what happens from now on.
   */
  follow(after: number | undefined, listener: (event: ApiEvent) => void): () => void {
    if (after !== undefined) for (const event of this.#since(after)) listener(event);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #since(after: number): ApiEvent[] {
    const oldest = this.#cursor - this.#kept.length;
    if (after >= oldest && after <= this.#cursor) return this.#kept.filter((event) => event.cursor > after);
    return this.#everything().map((what) => this.#event(what, this.#cursor));
  }

  #event(what: What, cursor: number): ApiEvent {
    return { cursor, at: new Date().toISOString(), ...what };
  }
}
