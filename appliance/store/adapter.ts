/** lowdb's adapter for the state file: durable writes, and a schema check of what is read. */
import { readFile } from 'node:fs/promises';
import type { Adapter } from 'lowdb';
import { Check, Errors } from 'typebox/value';
import { RehostError } from '../api/errors.ts';
import { writeDurably } from './durable-file.ts';
import { StoreData } from './schema.ts';
import { upgrade } from './upgrade.ts';

export class DurableAdapter implements Adapter<StoreData> {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Null where there is no file yet. STORE_DAMAGED where it cannot be read as our state; the file is left as it is. */
  async read(): Promise<StoreData | null> {
    let text: string;
    try {
      text = await readFile(this.#path, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw error;
    }
    return this.#parse(text);
  }

  async write(data: StoreData): Promise<void> {
    await writeDurably(this.#path, `${JSON.stringify(data, null, 1)}\n`);
  }

  #parse(text: string): StoreData {
    let value: unknown;
    try {
      value = upgrade(JSON.parse(text));
    } catch (cause) {
      throw new RehostError('STORE_DAMAGED', `${this.#path} is not JSON (${text.length} characters).`, { cause });
    }
    if (Check(StoreData, value)) return value;
    const first = Errors(StoreData, value)[0];
    throw new RehostError(
      'STORE_DAMAGED',
      `${this.#path} does not hold a state of this version: '${first?.instancePath ?? ''}' ${first?.message ?? ''}.`,
    );
  }
}
