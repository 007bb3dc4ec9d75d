/** What a target throws when the code under test broke a promise. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** Violation with `message` unless `condition`. */
export function must(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Violation(message);
}
