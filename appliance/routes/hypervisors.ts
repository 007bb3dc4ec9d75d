import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { Hypervisor } from '../api/rest.ts';
import type { Orchestrator } from '../orchestrator.ts';

/** GET /hypervisors */
export const hypervisorRoutes: FastifyPluginAsyncTypebox<{ orchestrator: Orchestrator }> = async (app, options) => {
  const { hypervisors } = options.orchestrator;
  app.get('/hypervisors', { schema: { response: { 200: Type.Array(Hypervisor) } } }, () => hypervisors.views());
};
