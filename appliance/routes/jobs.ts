import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { RehostError } from '../api/errors.ts';
import { type Job, JobLimits, JobOrder } from '../api/job.ts';
import { JobView } from '../api/rest.ts';
import { audited } from '../audited.ts';
import type { Orchestrator } from '../orchestrator.ts';

/** Any short text: what is no job's id is JOB_UNKNOWN, not a matter of form. */
const Named = Type.Object({ job: Type.String({ minLength: 1, maxLength: 64 }) });
/** Kept beside the log by the proof, also by one that fails. */
const SCREENSHOT = 'screenshot.png';

/**
 * POST /jobs, GET /jobs, GET /jobs/:job; POST /jobs/:job/ and cancel, retry, pause, resume or verify; PATCH /jobs/:job/limits;
 * GET /jobs/:job/log, GET /jobs/:job/screenshot
 */
export const jobRoutes: FastifyPluginAsyncTypebox<{ orchestrator: Orchestrator }> = async (app, options) => {
  const { orchestrator } = options;
  const { jobs, machines } = orchestrator;
  const view = (job: Job): JobView => ({ job, progress: jobs.progress(job.id) });
  const idOf = (job: Job): string => job.id;

  app.post('/jobs', { schema: { body: JobOrder, response: { 201: JobView } } }, async (request, reply) => {
    const entry = { what: 'job.order', subject: request.body.machine, idOf };
    const job = await audited(orchestrator, request, entry, async () => {
      const machine = machines.find(request.body.machine);
      return await jobs.order({ ...request.body, machine: machine.id });
    });
    return reply.status(201).send(view(job));
  });

  app.get('/jobs', { schema: { response: { 200: Type.Array(JobView) } } }, () => jobs.list().map(view));

  app.get('/jobs/:job', { schema: { params: Named, response: { 200: JobView } } }, (request) =>
    view(jobs.get(request.params.job)),
  );

  for (const action of ['cancel', 'retry', 'pause', 'resume', 'verify'] as const) {
    app.post(`/jobs/:job/${action}`, { schema: { params: Named, response: { 200: JobView } } }, async (request) => {
      const id = request.params.job;
      const entry = { what: `job.${action}`, subject: id };
      return view(await audited(orchestrator, request, entry, () => jobs[action](id)));
    });
  }

  app.patch(
    '/jobs/:job/limits',
    { schema: { params: Named, body: JobLimits, response: { 200: JobView } } },
    async (request) => {
      const id = request.params.job;
      const entry = { what: 'job.limit', subject: id };
      return view(await audited(orchestrator, request, entry, () => jobs.limit(id, request.body)));
    },
  );

  app.get('/jobs/:job/log', { schema: { params: Named } }, async (request, reply) => {
    const path = jobs.logPath(jobs.get(request.params.job).id);
    reply.type('text/plain; charset=utf-8');
    // A job has no log before its first line; that is an empty one.
    return (await isThere(path)) ? reply.send(createReadStream(path)) : reply.send('');
  });

  app.get('/jobs/:job/screenshot', { schema: { params: Named } }, async (request, reply) => {
    const { id } = jobs.get(request.params.job);
    const path = join(dirname(jobs.logPath(id)), SCREENSHOT);
    if (!(await isThere(path))) {
      throw new RehostError('NOT_FOUND', `Job ${id} has no screenshot.`, {
        next: 'A screenshot is taken when the target VM proves that it boots.',
      });
    }
    return reply.type('image/png').send(createReadStream(path));
  });
};

async function isThere(path: string): Promise<boolean> {
  try {
    await (await open(path, 'r')).close();
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
    throw error;
  }
}
