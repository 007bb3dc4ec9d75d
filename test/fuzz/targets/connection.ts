/** What the client's targets have in common. */
import { RehostError } from '../../../appliance/api/errors.ts';
import { StreamError } from '../../../native/stream.ts';

/** What ends a connection and nothing else. */
export function endsConnection(error: unknown): error is Error {
  if (error instanceof StreamError) return true;
  return error instanceof RehostError && (error.code === 'PROTOCOL_VIOLATION' || error.code === 'TRANSFER_FAILED');
}

/** Gives one packet after the other and notes which. */
export function packets(records: readonly Buffer[], taken: Buffer[]): () => Buffer | undefined {
  let next = 0;
  return () => {
    const packet = records[next++];
    if (packet) taken.push(packet);
    return packet;
  };
}
