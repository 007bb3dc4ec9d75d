/** An agent's end at the orchestrator whose socket leads nowhere: for counting machines, where no word is exchanged. */
import { EventEmitter } from 'node:events';
import { AGENT_METHODS, ORCHESTRATOR_METHODS } from '../../../appliance/api/control.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import { Peer, type PeerSocket } from '../../../appliance/api/peer.ts';
import type { AgentPeer } from '../../../appliance/job/dependencies.ts';

class LooseSocket extends EventEmitter implements PeerSocket {
  send(): void {}
  close(): void {
    this.emit('close');
  }
}

export function loosePeer(): AgentPeer {
  const refuse = (): never => {
    throw new RehostError('REQUEST_INVALID', 'Nobody asks here.');
  };
  const handlers = { 'agent.hello': refuse, 'agent.prove': refuse, 'receiver.hello': refuse };
  return new Peer(new LooseSocket(), AGENT_METHODS, ORCHESTRATOR_METHODS, handlers);
}
