import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { WebSocket } from 'ws';
import { AGENT_PATH, RECEIVER_PATH } from '../api/control.ts';
import { acceptAgent } from '../machine/enrolment.ts';
import { keepAlive } from '../machine/keep-alive.ts';
import { Places } from '../machine/places.ts';
import type { Orchestrator } from '../orchestrator.ts';

const CLOSE_TRY_AGAIN_LATER = 1013;
/** Channels that have not proved anything yet, in all and from one address; each holds at most one frame, so this bounds memory too. */
const HALF_OPEN_MAX = 128;
const HALF_OPEN_PER_ADDRESS = 16;

/** The control channels of agents and receivers. Who they are is said and proved on the channel itself. */
export function registerControl(app: FastifyInstance, orchestrator: Orchestrator): void {
  const { machines, receivers, log } = orchestrator;
  const halfOpen = new Places(HALF_OPEN_MAX, HALF_OPEN_PER_ADDRESS);

  /** Serves the channel if there is room for one more that has proved nothing yet. */
  const admit = (socket: WebSocket, request: FastifyRequest, serve: (address: string, left: () => void) => void) => {
    const address = request.ip.replace(/^::ffff:/, '');
    const left = halfOpen.enter(address);
    if (!left) {
      log.warn({ address }, 'too many channels that have not proved anything; one more was refused');
      socket.close(CLOSE_TRY_AGAIN_LATER, 'too many channels');
      return;
    }
    keepAlive(socket);
    serve(address, left);
  };

  app.get(AGENT_PATH, { websocket: true }, (socket, request) => {
    admit(socket, request, (address, left) => acceptAgent(socket, address, machines, log, left));
  });
  app.get(RECEIVER_PATH, { websocket: true }, (socket, request) => {
    admit(socket, request, (address, left) => receivers.accept(socket, address, left));
  });
}
