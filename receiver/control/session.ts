/** One control channel of the receiver, from the hello to its end. */
import { CONTROL_VERSION, ORCHESTRATOR_METHODS, RECEIVER_METHODS } from '../../appliance/api/control.ts';
import { type Handlers, Peer, type PeerSocket } from '../../appliance/api/peer.ts';
import type { SessionKey } from '../session-key.ts';

/** The orchestrator writes the enrolment to disk before it answers. */
const HELLO_DEADLINE_MS = 60_000;

export interface SessionParts {
  jobId: string;
  key: SessionKey;
  handlers: Handlers<typeof RECEIVER_METHODS>;
  accepted(): void;
}

/** Shows the secret or the session key, then answers requests until the channel closes. Rejects when the orchestrator refuses it. */
export async function runSession(socket: PeerSocket, parts: SessionParts): Promise<void> {
  const peer = new Peer(socket, ORCHESTRATOR_METHODS, RECEIVER_METHODS, parts.handlers);
  const hello = { version: CONTROL_VERSION, jobId: parts.jobId, secret: parts.key.shown } as const;
  const { sessionKey } = await peer.request('receiver.hello', hello, HELLO_DEADLINE_MS);
  parts.key.keep(sessionKey);
  parts.accepted();
  await peer.closed;
}
