/**
 * Receivers of transfer VMs. Each enrols with the one-time secret of its config disk and gets a session key, with which it comes
 * back after a cut. Both are stored as hashes, so that a restarted orchestrator still knows its receivers.
 */
import type { WebSocket } from 'ws';
import { ORCHESTRATOR_METHODS, RECEIVER_METHODS } from '../api/control.ts';
import { RehostError } from '../api/errors.ts';
import { type Handlers, Peer } from '../api/peer.ts';
import type { ReceiverPeer, ReceiverRegistry } from '../job/dependencies.ts';
import type { Log } from '../log.ts';
import type { Store } from '../store/store.ts';
import { hashSecret, newSecret, sameHash } from '../store/tokens.ts';
import { Connections } from './connections.ts';
import { PROOF_DEADLINE_MS } from './enrolment.ts';

export class Receivers implements ReceiverRegistry {
  readonly #channels = new Connections<ReceiverPeer>('TRANSFER_VM_SILENT', 'receiver of the job');
  readonly #store: Store;
  readonly #log: Log;

  constructor(store: Store, log: Log) {
    this.#store = store;
    this.#log = log;
  }

  /** Makes the job's one-time secret; an earlier one and its session are void when this resolves. */
  async expect(jobId: string): Promise<Buffer> {
    const secret = newSecret();
    const record = { jobId, secretHash: hashSecret(secret), sessionHash: null };
    await this.#store.update((draft) => {
      draft.receivers = [...draft.receivers.filter((known) => known.jobId !== jobId), record];
    });
    this.#channels.drop(jobId);
    return secret;
  }

  /** Was the job's secret used? Then its receiver has the session key. */
  enrolled(jobId: string): boolean {
    return this.#store.data.receivers.some((known) => known.jobId === jobId && known.sessionHash !== null);
  }

  get(jobId: string): ReceiverPeer | undefined {
    return this.#channels.get(jobId);
  }

  async waitFor(jobId: string, deadlineMs: number, signal?: AbortSignal): Promise<ReceiverPeer> {
    return await this.#channels.waitFor(jobId, deadlineMs, signal);
  }

  /** Ends the job's enrolment: secret and session are void, the channel is closed. */
  async forget(jobId: string): Promise<void> {
    await this.#store.update((draft) => {
      draft.receivers = draft.receivers.filter((known) => known.jobId !== jobId);
    });
    this.#channels.drop(jobId);
  }

  /** Serves a receiver's channel. `left` is called when it has enrolled or closed. */
  accept(socket: WebSocket, address: string, left: () => void): void {
    let said = false;
    const deadline = setTimeout(() => socket.terminate(), PROOF_DEADLINE_MS);
    const handlers: Handlers<typeof ORCHESTRATOR_METHODS> = {
      'receiver.hello': async ({ jobId, secret }) => {
        if (said) throw new RehostError('PROTOCOL_VIOLATION', 'receiver.hello was said on this channel already.');
        said = true;
        const sessionKey = await this.#enrol(jobId, Buffer.from(secret, 'base64'), address);
        clearTimeout(deadline);
        left();
        this.#join(jobId, peer);
        return { sessionKey: sessionKey.toString('base64') };
      },
      'agent.hello': refuseAgent,
      'agent.prove': refuseAgent,
    };
    const peer: ReceiverPeer = new Peer(socket, RECEIVER_METHODS, ORCHESTRATOR_METHODS, handlers);
    socket.once('close', () => {
      clearTimeout(deadline);
      left();
    });
  }

  /** Answers the session key for the secret (once) or for the session key itself. TOKEN_SPENT, TOKEN_INVALID. */
  async #enrol(jobId: string, shown: Buffer, address: string): Promise<Buffer> {
    const hash = hashSecret(shown);
    const known = this.#store.data.receivers.find((receiver) => receiver.jobId === jobId);
    if (known?.sessionHash != null && sameHash(known.sessionHash, hash)) {
      this.#log.info({ job: jobId, address }, 'a receiver came back');
      return shown;
    }
    if (!known || !sameHash(known.secretHash, hash)) {
      this.#log.warn({ job: jobId, address }, 'a receiver showed a wrong secret');
      throw new RehostError('TOKEN_INVALID', `This is not the enrolment secret of job '${jobId}'.`);
    }
    const sessionKey = newSecret();
    await this.#store.update((draft) => {
      // Decided on the draft: of two first uses at once, one wins.
      const record = draft.receivers.find((receiver) => receiver.jobId === jobId && receiver.secretHash === hash);
      if (!record) throw new RehostError('TOKEN_INVALID', `The enrolment of job '${jobId}' has ended.`);
      if (record.sessionHash !== null) {
        this.#log.warn({ job: jobId, address }, 'a spent enrolment secret was shown again');
        throw new RehostError('TOKEN_SPENT', `The enrolment secret of job '${jobId}' was used already.`);
      }
      record.sessionHash = hashSecret(sessionKey);
    });
    this.#log.info({ job: jobId, address }, 'a receiver enrolled');
    return sessionKey;
  }

  #join(jobId: string, peer: ReceiverPeer): void {
    // Closed, or the enrolment ended, while the session was written.
    if (!peer.open || !this.enrolled(jobId)) return;
    this.#channels.set(jobId, peer);
    void peer.closed.then(() => this.#channels.remove(jobId, peer));
  }
}

function refuseAgent(): never {
  throw new RehostError('REQUEST_INVALID', 'Agents dial in at their own path.');
}
