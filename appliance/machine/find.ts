/** How a person names a machine. */
import { RehostError } from '../api/errors.ts';
import type { Machine } from '../api/rest.ts';

/**
 * By id; then by an approved machine's name; then by a waiting machine's name or a beginning of an id. An unapproved machine
 * names itself, so its name never stands before one that a person gave. MACHINE_UNKNOWN where none fits, or more than one.
 */
export function findMachine(machines: Machine[], idOrName: string): Machine {
  const rules: ((machine: Machine) => boolean)[] = [
    (machine) => machine.id === idOrName,
    (machine) => machine.approved && machine.name === idOrName,
    (machine) => machine.name === idOrName || (idOrName !== '' && machine.id.startsWith(idOrName.toLowerCase())),
  ];
  for (const fits of rules) {
    const found = machines.filter(fits);
    const [first] = found;
    if (first && found.length === 1) return first;
    if (first) {
      const ids = found.map((machine) => machine.id).join(', ');
      throw new RehostError('MACHINE_UNKNOWN', `'${idOrName}' fits ${found.length} machines: ${ids}.`, {
        next: 'Name the machine by its id.',
      });
    }
  }
  throw new RehostError('MACHINE_UNKNOWN', `There is no machine '${idOrName}'.`);
}
