/** Every error leaves as a WireError with the status of its code, whoever threw it. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { ERROR_CODES, RehostError, toWire } from './api/errors.ts';
import { GivenName } from './api/job.ts';

/** Sets the handlers for thrown errors and unknown routes. */
export function answerErrors(app: FastifyInstance): void {
  app.setErrorHandler(replyWithError);
  app.setNotFoundHandler((request) => {
    throw new RehostError('NOT_FOUND', `There is no ${request.method} ${request.url.slice(0, 200)}.`, {
      next: 'Read the list of routes in the API description.',
    });
  });
}

/** Answers the request with this error. Faults of ours are logged with their stack. */
export async function replyWithError(error: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const known = translate(error);
  if (ERROR_CODES[known.code].status >= 500) request.log.error({ err: known, cause: known.cause }, known.message);
  await reply.status(known.status).send(toWire(known));
}

function translate(error: unknown): RehostError {
  if (error instanceof RehostError) return error;
  if (!isFastifyError(error)) return new RehostError('INTERNAL', toWire(error).message, { cause: error });
  const [first] = error.validation ?? [];
  if (first) return invalid(error.validationContext ?? 'request', first);
  if (error.statusCode === ERROR_CODES.REQUEST_TOO_LARGE.status) {
    return new RehostError('REQUEST_TOO_LARGE', error.message, { cause: error });
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return new RehostError('REQUEST_INVALID', error.message, { cause: error });
  }
  return new RehostError('INTERNAL', error.message, { cause: error });
}

type Refusal = NonNullable<FastifyError['validation']>[number];

function invalid(where: string, refusal: Refusal): RehostError {
  const { instancePath, keyword, params, message } = refusal;
  const unknown = keyword === 'additionalProperties' ? params.additionalProperty : undefined;
  if (typeof unknown === 'string') {
    return new RehostError('REQUEST_INVALID', `${where}${instancePath}: there is no field '${unknown.slice(0, 64)}'.`);
  }
  const field = `${where}${instancePath}`;
  if (keyword === 'pattern' && 'pattern' in GivenName && params.pattern === GivenName.pattern) {
    return new RehostError('NAME_INVALID', `${field} is not a name.`);
  }
  return new RehostError('REQUEST_INVALID', `${field} ${message ?? 'does not fit'}.`);
}

function isFastifyError(error: unknown): error is FastifyError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string';
}
