/** Reading what a person typed. Every refusal is REQUEST_INVALID and names option and value. */
import { RehostError } from '../api/errors.ts';
import type { Values } from './command.ts';

const SIZE_UNITS: Readonly<Record<string, number>> = { K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };

export function usageError(message: string): RehostError {
  return new RehostError('REQUEST_INVALID', message, { next: "'rehost help COMMAND' says how it is used." });
}

/** An option's text, or undefined where it was not given. */
export function textOption(values: Values, name: string): string | undefined {
  const value = values[name];
  if (value === undefined || typeof value === 'string') return value;
  throw usageError(`--${name} is given once, with a value.`);
}

/** A whole number. */
export function numberOption(values: Values, name: string): number | undefined {
  const text = textOption(values, name);
  if (text === undefined) return undefined;
  if (!/^[0-9]{1,12}$/.test(text)) throw usageError(`--${name}: '${text}' is not a whole number.`);
  return Number(text);
}

/** A size in bytes: `64K`, `512M`, `4G`, `1T`, powers of 1024. */
export function sizeOption(values: Values, name: string): number | undefined {
  const text = textOption(values, name);
  if (text === undefined) return undefined;
  const [, digits, unit] = /^([0-9]{1,9})([KMGT])$/.exec(text.toUpperCase()) ?? [];
  const factor = SIZE_UNITS[unit ?? ''];
  if (digits === undefined || factor === undefined) {
    throw usageError(`--${name}: '${text}' is not a size such as 512M or 4G.`);
  }
  return Number(digits) * factor;
}

/** A limit on the wire, bytes per second: a size, or `none`, which is null. */
export function rateOption(values: Values, name: string): number | null | undefined {
  return textOption(values, name) === 'none' ? null : sizeOption(values, name);
}

/** `on` or `off`. */
export function switchOption(values: Values, name: string): boolean | undefined {
  const text = textOption(values, name);
  if (text === undefined) return undefined;
  if (text !== 'on' && text !== 'off') throw usageError(`--${name}: '${text}' is neither on nor off.`);
  return text === 'on';
}

/** The operand at this place; the dispatcher has counted them. */
export function operand(operands: string[], at: number): string {
  const value = operands[at];
  if (value === undefined) throw usageError('An operand is missing.');
  return value;
}

/** Without the fields that were not given. */
export function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  // What is left out of the entries is exactly what the return type makes optional.
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
