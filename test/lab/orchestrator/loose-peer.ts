/** The orchestrator's ends of control channels of this process. */
import {
  AGENT_METHODS,
  type Methods,
  ORCHESTRATOR_METHODS,
  type RECEIVER_METHODS,
} from '../../../appliance/api/control.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import { type Handlers, Peer, type PeerSocket } from '../../../appliance/api/peer.ts';
import type { AgentPeer } from '../../../appliance/job/dependencies.ts';
import { socketPair } from './socket-pair.ts';

const refuse = (): never => {
  throw new RehostError('REQUEST_INVALID', 'Nobody asks here.');
};

/** An end that asks only. */
export function askingPeer<M extends Methods>(socket: PeerSocket, asks: M): Peer<M, typeof ORCHESTRATOR_METHODS> {
  const handlers = { 'agent.hello': refuse, 'agent.prove': refuse, 'receiver.hello': refuse };
  return new Peer(socket, asks, ORCHESTRATOR_METHODS, handlers);
}

/** An end and its far end, which answers with these handlers. */
export function joinedPeer<M extends typeof AGENT_METHODS | typeof RECEIVER_METHODS>(
  methods: M,
  handlers: Handlers<M>,
): Peer<M, typeof ORCHESTRATOR_METHODS> {
  const [near, far] = socketPair();
  new Peer(far, ORCHESTRATOR_METHODS, methods, handlers);
  return askingPeer(near, methods);
}

/** An agent's end whose far end nobody holds: for counting machines, where no word is exchanged. */
export function loosePeer(): AgentPeer {
  return askingPeer(socketPair()[0], AGENT_METHODS);
}
