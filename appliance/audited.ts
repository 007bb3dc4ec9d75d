/** Changes that a caller asks for, with their result in the audit log. */
import type { FastifyRequest } from 'fastify';
import { toWire } from './api/errors.ts';
import { callerOf } from './caller.ts';
import type { Orchestrator } from './orchestrator.ts';

/** `subject` is what it was done to, as the caller named it; `idOf` names it by its id once it is known. */
export async function audited<T>(
  orchestrator: Orchestrator,
  request: FastifyRequest,
  entry: { what: string; subject: string; idOf?: (result: T) => string },
  change: () => Promise<T>,
): Promise<T> {
  const { who } = callerOf(request);
  const { what, subject } = entry;
  let result: T;
  try {
    result = await change();
  } catch (error) {
    await orchestrator.audit.append({ who, what, subject, result: toWire(error).code });
    throw error;
  }
  await orchestrator.audit.append({ who, what, subject: entry.idOf?.(result) ?? subject, result: 'ok' });
  return result;
}
