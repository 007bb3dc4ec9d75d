/** Two sockets of this process that are each other's far end: a control channel without a network. */
import { EventEmitter } from 'node:events';
import type { PeerSocket } from '../../../appliance/api/peer.ts';

class PairedSocket extends EventEmitter implements PeerSocket {
  #far: PairedSocket | undefined;
  #open = true;

  connect(far: PairedSocket): void {
    this.#far = far;
  }

  /** Arrives later, as on a wire; what is sent on a closed channel is lost. */
  send(text: string): void {
    const far = this.#far;
    if (this.#open) queueMicrotask(() => far?.emit('message', text));
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.emit('close');
    this.#far?.close();
  }
}

export function socketPair(): [PeerSocket, PeerSocket] {
  const ends: [PairedSocket, PairedSocket] = [new PairedSocket(), new PairedSocket()];
  ends[0].connect(ends[1]);
  ends[1].connect(ends[0]);
  return ends;
}
