/** Names that people see. Any printable text may be one; ids, paths and object names are made by the orchestrator alone. */
import { RehostError } from '../api/errors.ts';
import type { Inventory } from '../api/inventory.ts';

/** Control, format, surrogate, private and unassigned characters: they move cursors, reverse text or show nothing. */
const UNPRINTABLE = /\p{C}/u;
const DEFAULT_NAME_CHARACTERS = 64;
const SERIAL_END_CHARACTERS = 6;

/** A name that a person gives. NAME_INVALID. */
export function checkDisplayName(name: string): string {
  const trimmed = name.trim();
  if (trimmed === '' || UNPRINTABLE.test(trimmed)) {
    throw new RehostError('NAME_INVALID', 'name is empty or has characters that cannot be shown.', {
      next: 'Give the machine a name of printable text.',
    });
  }
  return trimmed;
}

/** The product's name and the end of the serial, as far as the machine says anything printable of itself. */
export function defaultName(inventory: Inventory, id: string): string {
  const product = printable(inventory.product) || printable(inventory.vendor) || 'machine';
  const serial = printable(inventory.serial).slice(-SERIAL_END_CHARACTERS) || id.slice(0, SERIAL_END_CHARACTERS);
  return `${product.slice(0, DEFAULT_NAME_CHARACTERS)} ${serial}`;
}

function printable(text: string): string {
  return text.replace(/\p{C}/gu, '').trim();
}
