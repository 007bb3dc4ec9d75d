/** A receiver as the orchestrator sees one: real TLS, the real control channel. */
import { ORCHESTRATOR_METHODS, RECEIVER_METHODS, RECEIVER_PATH } from '../../../appliance/api/control.ts';
import { dial } from '../../../appliance/api/dial.ts';
import { RehostError } from '../../../appliance/api/errors.ts';
import { Peer } from '../../../appliance/api/peer.ts';

export type ReceiverChannel = Peer<typeof ORCHESTRATOR_METHODS, typeof RECEIVER_METHODS>;

/** An open channel on which nothing was said yet; the job is idle. */
export async function openReceiver(port: number, caPem: string): Promise<ReceiverChannel> {
  const socket = await dial({ host: '127.0.0.1', port, path: RECEIVER_PATH, caPem });
  const refuse = (): never => {
    throw new RehostError('TARGET_WRITE_FAILED', 'This receiver has no disks.');
  };
  return new Peer(socket, ORCHESTRATOR_METHODS, RECEIVER_METHODS, {
    'copy.start': refuse,
    'copy.status': () => ({
      progress: 'idle',
      disks: [],
      wireBytes: 0,
      reconnects: 0,
      retries: 0,
      paused: null,
      error: null,
    }),
    'copy.tune': refuse,
    'verify.start': refuse,
    'verify.replica': refuse,
    'verify.status': refuse,
    'verify.journal': refuse,
    'copy.release': refuse,
    'convert.start': refuse,
    'convert.status': refuse,
    'job.stop': () => ({}),
  });
}

/** Says hello; answers the session key, base64. */
export async function enrolReceiver(channel: ReceiverChannel, jobId: string, secret: string): Promise<string> {
  return (await channel.request('receiver.hello', { version: 1, jobId, secret })).sessionKey;
}
