/** What the client prints: for people, or JSON for scripts. Text that machines said of themselves never reaches a terminal raw. */
import type { WireError } from '../api/errors.ts';

/** Everything but printable characters: a product name may hold an escape sequence. */
const UNPRINTABLE = /\p{C}/gu;
/** DEL and C1 controls: JSON.stringify leaves them, and a terminal may obey them. */
const JSON_UNPRINTABLE = /[\u007f-\u009f]/g;

export class Output {
  readonly json: boolean;
  /** Standard output is a terminal: progress may be drawn over itself. */
  readonly live: boolean;
  readonly columns: number;
  readonly #out: NodeJS.WritableStream;
  readonly #err: NodeJS.WritableStream;

  constructor(
    out: NodeJS.WritableStream & { isTTY?: boolean; columns?: number },
    err: NodeJS.WritableStream,
    json: boolean,
  ) {
    this.#out = out;
    this.#err = err;
    this.json = json;
    this.live = out.isTTY === true && !json;
    this.columns = out.columns ?? 80;
  }

  /** One line for a person. */
  line(text: string): void {
    this.#out.write(`${printable(text)}\n`);
  }

  /** The value for a script, on one line. */
  value(value: unknown): void {
    const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
    this.#out.write(`${JSON.stringify(value).replace(JSON_UNPRINTABLE, escaped)}\n`);
  }

  /** Rows under headings, each column as wide as its widest cell. */
  table(headings: string[], rows: string[][]): void {
    const all = [headings, ...rows].map((row) => row.map(printable));
    const widths = headings.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
    for (const row of all)
      this.line(
        row
          .map((cell, at) => cell.padEnd(widths[at] ?? 0))
          .join('  ')
          .trimEnd(),
      );
  }

  /** Text of several lines, as it is but for control characters. */
  text(text: string): void {
    for (const line of text.replace(/\n$/, '').split('\n')) this.line(line.replaceAll('\t', '    '));
  }

  /** Draws over the line that was drawn before; only where `live`. */
  redraw(text: string): void {
    this.#out.write(`\r\u001b[2K${printable(text).slice(0, this.columns - 1)}`);
  }

  /** Ends what redraw drew. */
  endRedraw(): void {
    this.#out.write('\r\u001b[2K');
  }

  /** A remark that is not the command's result. */
  note(text: string): void {
    this.#err.write(`${printable(text)}\n`);
  }

  /** An error: its code, what happened, what is safe, what to do next. */
  error(error: WireError): void {
    if (this.json) {
      this.#err.write(`${JSON.stringify({ error })}\n`);
      return;
    }
    this.note(`rehost: ${error.code}: ${error.message}`);
    this.note(`  safe: ${error.safe}`);
    this.note(`  next: ${error.next}`);
  }
}

/** The text without characters that a terminal would act on. */
function printable(text: string): string {
  return text.replace(UNPRINTABLE, '\ufffd');
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes for a person, for example `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit] ?? ''}`;
}
