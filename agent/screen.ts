/** What the source machine's own screen says: plain ASCII, 80 columns, one line after the other, so that a serial log reads the same. */
import type { WireError } from '../appliance/api/errors.ts';
import { bigLetters } from './big-letters.ts';

const COLUMNS = 79;
const RULE = '='.repeat(COLUMNS);

export interface PanelFacts {
  product: string;
  serial: string;
  /** Addresses of this machine, with their interfaces. */
  addresses: readonly string[];
  orchestrator: string;
  code: string;
}

export class Screen {
  readonly #write: (text: string) => void;
  #panel: string[] = [];
  /** Lines since the panel was shown: it has left a screen of 25 lines after as many. */
  #since = 0;
  /** Width of the progress that stands on the last line, without its end. */
  #progress = 0;

  /** `write` gets text for the consoles. */
  constructor(write: (text: string) => void) {
    this.#write = write;
  }

  /** One line of what happens. */
  line(text: string): void {
    this.#print(wrap(text, ''));
  }

  /** A failure in full: code, what happened, what is safe, what to do next. */
  error({ code, message, safe, next }: WireError): void {
    this.#print([
      `ERROR ${code}`,
      ...wrap(`What happened: ${message}`, '  '),
      ...wrap(`What is safe:  ${safe}`, '  '),
      ...wrap(`What to do:    ${next}`, '  '),
    ]);
  }

  /** How far something is: it replaces the progress before it. */
  progress(text: string): void {
    const line = ascii(text).slice(0, COLUMNS);
    this.#write(`\r${line.padEnd(this.#progress)}`);
    this.#progress = line.length;
  }

  /** Shows who this machine is and its pairing code. The line with the code stands by itself: tests and scripts read it. */
  panel(facts: PanelFacts): void {
    const serial = facts.serial ? ` (serial ${facts.serial})` : '';
    this.#panel = [
      RULE,
      ...wrap(`Rehost agent on ${facts.product || 'this machine'}${serial}`, ''),
      ...wrap(`Addresses: ${facts.addresses.join(', ') || 'none yet'}`, ''),
      ...wrap(`Orchestrator: ${facts.orchestrator}`, ''),
      '',
      ...bigLetters(facts.code),
      '',
      `Pairing code: ${facts.code}`,
      RULE,
    ];
    this.#show();
  }

  /** Shows the panel again if what was said since has moved it off a small screen. */
  remind(): void {
    if (this.#panel.length > 0 && this.#since + this.#panel.length > SCREEN_LINES) this.#show();
  }

  #show(): void {
    this.#print(this.#panel);
    this.#since = 0;
  }

  #print(lines: readonly string[]): void {
    const before = this.#progress > 0 ? '\n' : '';
    this.#progress = 0;
    this.#since += lines.length;
    this.#write(`${before}${lines.join('\n')}\n`);
  }
}

/** Rows of a VGA text screen. */
const SCREEN_LINES = 25;

/** Firmware strings and messages from outside carry whatever they like: only printable ASCII reaches a terminal. */
function ascii(text: string): string {
  return text.replaceAll(/[^\x20-\x7e]+/g, ' ');
}

/** Lines of at most COLUMNS characters; all but the first are indented. */
function wrap(text: string, indent: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of ascii(text).trim().split(/ +/)) {
    const next = line === '' ? word : `${line} ${word}`;
    if (next.length + indent.length <= COLUMNS) {
      line = next;
      continue;
    }
    if (line !== '') lines.push(line);
    line = word.slice(0, COLUMNS - indent.length);
  }
  if (line !== '') lines.push(line);
  return lines.map((each, index) => (index === 0 && indent === '' ? each : indent + each));
}
