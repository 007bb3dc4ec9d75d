import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { CreatedToken, TokenRequest, TokenView } from '../api/rest.ts';
import { audited } from '../audited.ts';
import type { Orchestrator } from '../orchestrator.ts';
import { createToken, revokeToken } from '../store/tokens.ts';

const MS_PER_DAY = 24 * 3600 * 1000;
const admin = { role: 'admin' } as const;

/** POST /tokens, GET /tokens, DELETE /tokens/:name */
export const tokenRoutes: FastifyPluginAsyncTypebox<{ orchestrator: Orchestrator }> = async (app, options) => {
  const { orchestrator } = options;
  const { store } = orchestrator;
  const params = Type.Object({ name: Type.String({ minLength: 1, maxLength: 63 }) });

  app.post(
    '/tokens',
    { config: admin, schema: { body: TokenRequest, response: { 201: CreatedToken } } },
    async (request, reply) => {
      const { name, role, days } = request.body;
      const expiresAt = days === undefined ? null : new Date(Date.now() + days * MS_PER_DAY).toISOString();
      const token = await audited(orchestrator, request, { what: 'token.create', subject: name }, () =>
        createToken(store, name, role, expiresAt),
      );
      return reply.status(201).send({ name, role, expiresAt, token });
    },
  );

  app.get('/tokens', { config: admin, schema: { response: { 200: Type.Array(TokenView) } } }, () =>
    store.data.tokens.map(({ name, role, createdAt, expiresAt }) => ({ name, role, createdAt, expiresAt })),
  );

  app.delete(
    '/tokens/:name',
    { config: admin, schema: { params, response: { 204: Type.Null() } } },
    async (request, reply) => {
      const { name } = request.params;
      await audited(orchestrator, request, { what: 'token.revoke', subject: name }, () => revokeToken(store, name));
      return reply.status(204).send(null);
    },
  );
};
