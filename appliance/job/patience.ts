/** Asking somebody who may be away for a while: the control channel breaks and comes back, an orchestrator restarts. */
import { type ErrorCode, RehostError } from '../api/errors.ts';

/** Codes that say "not now": the channel is closed or slow. Every other error is the other end's own answer. */
const AWAY: ReadonlySet<ErrorCode> = new Set(['TRANSFER_FAILED', 'TIMEOUT']);

export class Patience {
  #awaySince: number | undefined;
  readonly #limitMs: number;
  readonly #code: ErrorCode;
  readonly #sentence: string;

  /** After `limitMs` without an answer `attempt` throws `code`. */
  constructor(limitMs: number, code: ErrorCode, sentence: string) {
    this.#limitMs = limitMs;
    this.#code = code;
    this.#sentence = sentence;
  }

  /** The answer, or undefined when nobody answered this time. An error that is an answer is thrown on. */
  async attempt<T>(ask: () => Promise<T> | undefined): Promise<T | undefined> {
    try {
      const answer = await ask();
      if (answer !== undefined) {
        this.#awaySince = undefined;
        return answer;
      }
    } catch (error) {
      if (!(error instanceof RehostError && AWAY.has(error.code))) throw error;
    }
    const now = Date.now();
    this.#awaySince ??= now;
    if (now - this.#awaySince > this.#limitMs) {
      throw new RehostError(this.#code, `${this.#sentence} for ${Math.round((now - this.#awaySince) / 1000)} s.`);
    }
    return undefined;
  }
}
