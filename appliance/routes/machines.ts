import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { RehostError } from '../api/errors.ts';
import { ApprovedMachine, ApproveRequest, Machine } from '../api/rest.ts';
import { audited } from '../audited.ts';
import { callerOf } from '../caller.ts';
import { isWorking } from '../job/states.ts';
import type { Orchestrator } from '../orchestrator.ts';

/** An id, the beginning of one, or a name. */
const Named = Type.Object({ machine: Type.String({ minLength: 1, maxLength: 256 }) });

/** GET /machines, GET /machines/:machine, POST /machines/:machine/approve, DELETE /machines/:machine */
export const machineRoutes: FastifyPluginAsyncTypebox<{ orchestrator: Orchestrator }> = async (app, options) => {
  const { orchestrator } = options;
  const { jobs, machines } = orchestrator;

  app.get('/machines', { schema: { response: { 200: Type.Array(Machine) } } }, () => machines.list());

  app.get('/machines/:machine', { schema: { params: Named, response: { 200: Machine } } }, (request) =>
    machines.find(request.params.machine),
  );

  app.post(
    '/machines/:machine/approve',
    { schema: { params: Named, body: ApproveRequest, response: { 200: ApprovedMachine } } },
    async (request) => {
      const subject = request.params.machine;
      const { code, name } = request.body;
      const entry = { what: 'machine.approve', subject, idOf: (machine: Machine) => machine.id };
      const approved = await audited(orchestrator, request, entry, async () => {
        const machine = await machines.approve(subject, code, name);
        const { replaced } = machine;
        if (replaced !== undefined) {
          const { who } = callerOf(request);
          await orchestrator.audit.append({ who, what: 'machine.forget', subject: replaced, result: 'ok' });
        }
        return machine;
      });
      void tellApproved(orchestrator, approved);
      return approved;
    },
  );

  app.delete('/machines/:machine', { schema: { params: Named, response: { 200: Machine } } }, async (request) => {
    const subject = request.params.machine;
    const entry = { what: 'machine.forget', subject, idOf: (machine: Machine) => machine.id };
    return await audited(orchestrator, request, entry, async () => {
      const { id } = machines.find(subject);
      const running = jobs.list().find((job) => job.machineId === id && isWorking(job.state));
      if (running) throw new RehostError('MACHINE_BUSY', `Job ${running.id} copies the machine '${id}'.`);
      return await machines.forget(id);
    });
  });
};

/** For the machine's screen only: the approval holds whether its agent hears of it or not. */
async function tellApproved({ machines, log }: Orchestrator, { id, name }: Machine): Promise<void> {
  try {
    await machines.agents.get(id)?.request('approved', { name });
  } catch (error) {
    log.warn({ err: error, machine: id }, 'the agent was not told that its machine is approved');
  }
}
