/** The REST API below its prefix, on a server that knows how to tell who asks. */
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { API_PREFIX } from './api/rest.ts';
import { type Caller, checkRole } from './caller.ts';
import type { Orchestrator } from './orchestrator.ts';
import { eventRoutes } from './routes/events.ts';
import { healthRoutes } from './routes/health.ts';
import { hypervisorRoutes } from './routes/hypervisors.ts';
import { jobRoutes } from './routes/jobs.ts';
import { machineRoutes } from './routes/machines.ts';
import { tokenRoutes } from './routes/tokens.ts';

const PLUGINS = [healthRoutes, machineRoutes, hypervisorRoutes, jobRoutes, eventRoutes, tokenRoutes];

/** `identify` throws NOT_AUTHORISED where nobody is known; it runs before anything of the request's body is read. */
export async function registerApi(
  app: FastifyInstance,
  orchestrator: Orchestrator,
  identify: (request: FastifyRequest) => Caller,
): Promise<void> {
  await app.register(
    async (api) => {
      api.decorateRequest('caller', null);
      api.addHook('onRequest', async (request) => {
        const caller = identify(request);
        checkRole(caller, request);
        request.caller = caller;
      });
      for (const plugin of PLUGINS) await api.register(plugin, { orchestrator });
    },
    { prefix: API_PREFIX },
  );
}
