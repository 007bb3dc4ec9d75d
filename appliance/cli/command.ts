/** What a command of the client is. One file per command, named after it. */
import type { ParseArgsConfig } from 'node:util';
import type { Client } from './client.ts';
import type { Output } from './output.ts';

export type Values = Record<string, string | boolean | (string | boolean)[] | undefined>;

export interface Invocation {
  client: Client;
  output: Output;
  /** Operands, as many as the command takes. */
  operands: string[];
  values: Values;
}

export interface Command {
  readonly name: string;
  /** One line of `rehost --help`. */
  readonly summary: string;
  /** Operands by name; a name in brackets may be left out. */
  readonly operands: readonly string[];
  /** Options besides the ones that every command takes. */
  readonly options: NonNullable<ParseArgsConfig['options']>;
  /** Each option and what it means. */
  readonly optionHelp?: Readonly<Record<string, string>>;
  /** What else a person must know. */
  readonly notes?: readonly string[];
  /** Answers the exit code where the command went through; throws RehostError where it did not. */
  run(invocation: Invocation): Promise<number>;
}
