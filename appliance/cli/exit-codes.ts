/** Exit codes of the client, by class, so that scripts can tell them apart. */
import { ERROR_CODES, type ErrorCode } from '../api/errors.ts';

export const EXIT = { ok: 0, failed: 1, usage: 2, notFound: 3, refused: 4, unreachable: 5 } as const;

/** HTTP statuses of refusals: not authorised, role, conflict, too large, unfit, too many, no room. */
const REFUSALS: readonly number[] = [401, 403, 409, 413, 422, 429, 507];

/** The exit code of an error. */
export function exitCodeOf(code: ErrorCode): number {
  if (code === 'ORCHESTRATOR_UNREACHABLE') return EXIT.unreachable;
  const { status } = ERROR_CODES[code];
  if (status === 400) return EXIT.usage;
  if (status === 404) return EXIT.notFound;
  return REFUSALS.includes(status) ? EXIT.refused : EXIT.failed;
}
