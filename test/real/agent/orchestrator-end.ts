/** The orchestrator's end of both control channels and the boot server, small but real: TLS, WebSocket, frames checked both ways. */
import { createHash, createPublicKey, randomBytes, verify, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import {
  AGENT_METHODS,
  AGENT_PATH,
  AGENT_PROOF_CONTEXT,
  ORCHESTRATOR_METHODS,
  RECEIVER_METHODS,
  RECEIVER_PATH,
} from '../../../appliance/api/control.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import type { Inventory } from '../../../appliance/api/inventory.ts';
import { pairingCode } from '../../../appliance/api/pairing.ts';
import { type Handlers, Peer } from '../../../appliance/api/peer.ts';
import { ORCHESTRATOR_NAME } from '../../../appliance/api/transfer.ts';
import { makePki } from '../../unit/agent/certificates.ts';

export type AgentPeer = Peer<typeof AGENT_METHODS, typeof ORCHESTRATOR_METHODS>;
export type ReceiverPeer = Peer<typeof RECEIVER_METHODS, typeof ORCHESTRATOR_METHODS>;

export interface AgentSeen {
  publicKey: string;
  code: string;
  inventory: Inventory;
}

export class OrchestratorEnd {
  readonly pki = makePki(ORCHESTRATOR_NAME);
  readonly secret = randomBytes(32).toString('base64');
  readonly #sessionKey = randomBytes(32).toString('base64');
  /** What receivers showed, in order. */
  readonly shown: string[] = [];
  readonly agentsSeen: AgentSeen[] = [];
  readonly #agents: AgentPeer[] = [];
  readonly #receivers: ReceiverPeer[] = [];
  readonly #server = createServer({ cert: this.pki.serverPem, key: this.pki.serverKey });
  readonly #sockets = new WebSocketServer({ noServer: true });
  readonly #boot = createHttpServer((request, response) => {
    if (request.url === '/boot/ca.pem') response.end(this.pki.caPem);
    else response.writeHead(404).end();
  });
  readonly #waiting: (() => void)[] = [];

  async listen(): Promise<void> {
    this.#server.on('upgrade', (request, socket, head) => {
      this.#sockets.handleUpgrade(request, socket, head, (channel) => {
        if (request.url === AGENT_PATH) this.#acceptAgent(channel);
        else if (request.url === RECEIVER_PATH) this.#acceptReceiver(channel);
        else channel.close();
      });
    });
    this.#server.listen(0, '127.0.0.1');
    this.#boot.listen(0, '127.0.0.1');
    await Promise.all([once(this.#server, 'listening'), once(this.#boot, 'listening')]);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** What a boot script writes on the agent's kernel command line. */
  get commandLine(): string {
    const pin = createHash('sha256').update(new X509Certificate(this.pki.caPem).raw).digest('hex');
    const boot = `http://127.0.0.1:${(this.#boot.address() as AddressInfo).port}`;
    return `quiet rehost.orchestrator=127.0.0.1:${this.port} rehost.boot=${boot} rehost.pin=${pin}\n`;
  }

  /** The nth channel (from 0) on which an agent proved itself. Fails after a minute. */
  agent(nth: number): Promise<AgentPeer> {
    return this.#wait(() => this.#agents[nth], `agent channel ${nth}`);
  }

  /** The nth channel on which a receiver enrolled. */
  receiver(nth: number): Promise<ReceiverPeer> {
    return this.#wait(() => this.#receivers[nth], `receiver channel ${nth}`);
  }

  /** Cuts every channel without a goodbye. */
  cut(): void {
    for (const socket of this.#sockets.clients) socket.terminate();
  }

  close(): void {
    this.cut();
    this.#server.closeAllConnections();
    this.#server.close();
    this.#boot.closeAllConnections();
    this.#boot.close();
  }

  async #wait<T>(look: () => T | undefined, what: string): Promise<T> {
    const deadline = AbortSignal.timeout(60_000);
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      await new Promise<void>((resolve, reject) => {
        this.#waiting.push(resolve);
        deadline.addEventListener('abort', () => reject(new Error(`There was no ${what} within a minute.`)));
      });
    }
  }

  #arrived(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  #acceptAgent(channel: WebSocket): void {
    const nonce = randomBytes(32);
    let publicKey = '';
    const handlers: Handlers<typeof ORCHESTRATOR_METHODS> = {
      'agent.hello': (hello) => {
        publicKey = hello.publicKey;
        return { nonce: nonce.toString('base64') };
      },
      'agent.prove': async ({ signature, inventory }) => {
        const der = Buffer.from(publicKey, 'base64');
        const key = createPublicKey({ key: der, type: 'spki', format: 'der' });
        const signed = Buffer.concat([Buffer.from(AGENT_PROOF_CONTEXT), nonce]);
        if (!verify(null, signed, key, Buffer.from(signature, 'base64')))
          throw new RehostError('NOT_AUTHORISED', 'The proof does not hold.');
        const code = await pairingCode(der, new X509Certificate(this.pki.caPem).raw);
        this.agentsSeen.push({ publicKey, code, inventory });
        this.#agents.push(peer);
        this.#arrived();
        return { machineId: 'machine', approved: true };
      },
      'receiver.hello': refuse,
    };
    const peer: AgentPeer = new Peer(channel, AGENT_METHODS, ORCHESTRATOR_METHODS, handlers);
  }

  #acceptReceiver(channel: WebSocket): void {
    const handlers: Handlers<typeof ORCHESTRATOR_METHODS> = {
      'agent.hello': refuse,
      'agent.prove': refuse,
      'receiver.hello': ({ secret }) => {
        const first = this.shown.length === 0;
        this.shown.push(secret);
        if (secret !== (first ? this.secret : this.#sessionKey))
          throw new RehostError('TOKEN_INVALID', 'Not the secret, or no longer.');
        this.#receivers.push(peer);
        this.#arrived();
        return { sessionKey: this.#sessionKey };
      },
    };
    const peer: ReceiverPeer = new Peer(channel, RECEIVER_METHODS, ORCHESTRATOR_METHODS, handlers);
  }
}

function refuse(): never {
  throw new RehostError('REQUEST_INVALID', 'The other kind dials in elsewhere.');
}
