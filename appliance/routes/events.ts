import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { keepAlive } from '../machine/keep-alive.ts';
import type { Orchestrator } from '../orchestrator.ts';

const CLOSE_POLICY_VIOLATION = 1008;
/** What a slow client has not read yet, bytes; it is closed then and comes back with its cursor. */
const UNREAD_MAX_BYTES = 1024 * 1024;

/** WebSocket /events?after=CURSOR: ApiEvent, one JSON object per message. What the client sends is not read. */
export const eventRoutes: FastifyPluginAsyncTypebox<{ orchestrator: Orchestrator }> = async (app, options) => {
  const { events } = options.orchestrator;
  const querystring = Type.Object({ after: Type.Optional(Type.String({ pattern: '^[0-9]{1,15}$' })) });

  app.get('/events', { websocket: true, schema: { querystring } }, (socket, request) => {
    keepAlive(socket);
    const { after } = request.query;
    const stop = events.follow(after === undefined ? undefined : Number(after), (event) => {
      if (socket.bufferedAmount > UNREAD_MAX_BYTES) socket.terminate();
      else socket.send(JSON.stringify(event));
    });
    socket.on('message', () => socket.close(CLOSE_POLICY_VIOLATION, 'nothing is read here'));
    socket.once('close', stop);
  });
};
