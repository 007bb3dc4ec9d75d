import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Health } from '../api/rest.ts';
import { hasEnded } from '../job/states.ts';
import type { Orchestrator } from '../orchestrator.ts';
import { VERSION } from '../version.ts';

/** GET /health */
export const healthRoutes: FastifyPluginAsyncTypebox<{ orchestrator: Orchestrator }> = async (app, options) => {
  const { jobs, machines } = options.orchestrator;

  app.get('/health', { schema: { response: { 200: Health } } }, () => ({
    ok: true,
    version: VERSION,
    machines: machines.list().length,
    jobsRunning: jobs.list().filter((job) => !hasEnded(job.state)).length,
  }));
};
