/** The demo's output: steps with the time since the start, and a progress bar on a terminal (lines every tenth elsewhere). */

const BAR_CELLS = 30;
const NOTE_EVERY_MS = 10_000;

export class Screen {
  readonly #started = Date.now();
  readonly #tty = process.stdout.isTTY === true;
  #barShown = false;
  #lastTenth = -1;
  #lastNote = 0;

  /** A step that begins or a fact that was found. */
  line(text: string): void {
    this.#clearBar();
    this.#lastTenth = -1;
    process.stdout.write(`[${this.#clock()}] ${text}\n`);
  }

  /** Text as it is. */
  block(text: string): void {
    this.#clearBar();
    process.stdout.write(`${text}\n`);
  }

  /** How far the present step is; `fraction` is null where the whole is not known. */
  progress(fraction: number | null, text: string): void {
    if (!this.#tty) {
      if (!this.#isDue(fraction)) return;
      process.stdout.write(`[${this.#clock()}]   ${bar(fraction)} ${text}\n`);
      return;
    }
    process.stdout.write(`\r\x1b[2K[${this.#clock()}]   ${bar(fraction)} ${text}`.slice(0, process.stdout.columns + 5));
    this.#barShown = true;
  }

  /** Without a terminal: every tenth, and where the whole is not known a line now and then. */
  #isDue(fraction: number | null): boolean {
    if (fraction !== null) {
      const tenth = Math.floor(fraction * 10);
      if (tenth <= this.#lastTenth) return false;
      this.#lastTenth = tenth;
      return true;
    }
    if (Date.now() - this.#lastNote < NOTE_EVERY_MS) return false;
    this.#lastNote = Date.now();
    return true;
  }

  #clearBar(): void {
    if (this.#barShown) process.stdout.write('\r\x1b[2K');
    this.#barShown = false;
  }

  #clock(): string {
    const seconds = Math.floor((Date.now() - this.#started) / 1000);
    return `${String(Math.floor(seconds / 60)).padStart(2)}:${String(seconds % 60).padStart(2, '0')}`;
  }
}

function bar(fraction: number | null): string {
  if (fraction === null) return `[${'.'.repeat(BAR_CELLS)}]     `;
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * BAR_CELLS);
  return `[${'#'.repeat(full)}${'-'.repeat(BAR_CELLS - full)}] ${String(Math.floor(fraction * 100)).padStart(3)} %`;
}
