/** Who asks: decided once per request, before anything of it is read. */
import type { FastifyRequest } from 'fastify';
import { RehostError } from './api/errors.ts';
import type { Role } from './api/rest.ts';

import type { Store } from './store/store.ts';
import { checkToken } from './store/tokens.ts';

export interface Caller {
  /** As the audit log names it. */
  who: string;
  role: Role;
}

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller | null;
  }
  interface FastifyContextConfig {
    /** The least role that may use the route; where it is left out, viewer for GET and operator for everything else. */
    role?: Role;
  }
}

/** Each role may do what the ones before it may. */
const RANK: Readonly<Record<Role, number>> = { viewer: 0, operator: 1, admin: 2 };

/** The unix socket's file permissions (0600, root's) are what authenticates its callers; the kernel's peer credentials come later. */
export function callerOfSocket(): Caller {
  return { who: 'local socket', role: 'admin' };
}

/** The holder of the request's bearer token. NOT_AUTHORISED. */
export function callerOfToken(store: Store, request: FastifyRequest): Caller {
  const bearer = /^Bearer ([A-Za-z0-9_-]{1,128})$/.exec(request.headers.authorization ?? '')?.[1];
  if (bearer === undefined) throw new RehostError('NOT_AUTHORISED', 'The request carries no bearer token.');
  const token = checkToken(store, bearer, Date.now());
  return { who: `token ${token.name}`, role: token.role };
}

/** ROLE_TOO_LOW where the caller may not use this route. */
export function checkRole(caller: Caller, request: FastifyRequest): void {
  const reads = request.method === 'GET' || request.method === 'HEAD';
  const needed = request.routeOptions.config.role ?? (reads ? 'viewer' : 'operator');
  if (RANK[caller.role] >= RANK[needed]) return;
  throw new RehostError('ROLE_TOO_LOW', `The role '${caller.role}' may not do this; it takes '${needed}'.`);
}

/** The request's caller; every route below the API's prefix has one. */
export function callerOf(request: FastifyRequest): Caller {
  if (!request.caller) throw new RehostError('NOT_AUTHORISED', 'The request has no caller.');
  return request.caller;
}
