/** LVM's text metadata (lvm2: libdm/libdm-config.c): sections, `name = value`, lists, comments. Only what LVM itself writes. */
import { Inconsistent } from './source.ts';

export type LvmScalar = string | number;
export type LvmValue = LvmScalar | readonly LvmScalar[];

/** One `name { ... }`. Names are unique in a section. */
export interface LvmSection {
  values: Map<string, LvmValue>;
  sections: Map<string, LvmSection>;
}

/** LVM's own nesting: group, logical_volumes, volume, segment. */
const DEPTH_MAX = 6;

// Every pattern is bounded: an engine of regular expressions needs stack for what it may have to go back to.
const BLANK = /[ \t\r\n]{1,1024}|#[^\n]{0,4096}/y;
const NAME = /[A-Za-z0-9_.+-]{1,128}/y;
const STRING = /"(?:[^"\\\n]|\\["\\]){0,16384}"/y;
const NUMBER = /-?[0-9]{1,20}/y;

/** Parses the whole text. Inconsistent when it is not of this form, or a number is no safe integer. Linear in its length. */
export function parseLvmText(text: string): LvmSection {
  const parser = new Parser(text);
  const root = parser.section(0);
  parser.end();
  return root;
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** Everything up to the section's bracket, or the end at depth 0. */
  section(depth: number): LvmSection {
    if (depth > DEPTH_MAX) throw this.#wrong('it is nested too deeply');
    const values = new Map<string, LvmValue>();
    const sections = new Map<string, LvmSection>();
    for (let name = this.#next(NAME); name !== undefined; name = this.#next(NAME)) {
      if (values.has(name) || sections.has(name)) throw this.#wrong(`'${name}' stands twice in one section`);
      if (this.#take('{')) {
        sections.set(name, this.section(depth + 1));
        if (!this.#take('}')) throw this.#wrong(`the section '${name}' has no end`);
      } else if (this.#take('=')) values.set(name, this.#value());
      else throw this.#wrong(`'${name}' has no value`);
    }
    return { values, sections };
  }

  end(): void {
    this.#skip();
    if (this.#at !== this.#text.length) throw this.#wrong('something else follows');
  }

  #value(): LvmValue {
    if (!this.#take('[')) return this.#scalar();
    const list: LvmScalar[] = [];
    if (this.#take(']')) return list;
    // Every step takes at least one character.
    do list.push(this.#scalar());
    while (this.#take(','));
    if (!this.#take(']')) throw this.#wrong('a list has no end');
    return list;
  }

  #scalar(): LvmScalar {
    const string = this.#next(STRING);
    if (string !== undefined) return string.slice(1, -1).replace(/\\(["\\])/g, '$1');
    const number = Number(this.#next(NUMBER) ?? Number.NaN);
    if (!Number.isSafeInteger(number)) throw this.#wrong('a value is neither a string nor a whole number');
    return number;
  }

  #take(mark: string): boolean {
    this.#skip();
    if (this.#text[this.#at] !== mark) return false;
    this.#at++;
    return true;
  }

  #next(pattern: RegExp): string | undefined {
    this.#skip();
    return this.#match(pattern);
  }

  #skip(): void {
    while (this.#match(BLANK) !== undefined);
  }

  /** What the pattern finds right here, never an empty string. */
  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #wrong(what: string): Inconsistent {
    return new Inconsistent(`LVM: its metadata cannot be read, ${what} (character ${this.#at})`);
  }
}
