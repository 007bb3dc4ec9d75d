/**
 * virStream*: bytes through the connection, blocking. A stream belongs to whoever made it and ends in exactly one of finish (all
 * arrived) or abort, then free. The buffers given to send and recv are used during the call only.
 */
import { bind, type ConnectPtr, check, type Out, type StreamPtr } from './library.ts';

/** virStreamRecvFlagsValues. */
const VIR_STREAM_RECV_STOP_AT_HOLE = 1;
/** What virStreamRecvFlags() returns at a hole. */
const AT_HOLE = -3;
/** Bytes of one send or recv: libvirt's own packets carry 256 KiB of payload (VIR_NET_MESSAGE_LEGACY_PAYLOAD_MAX). */
export const STREAM_CHUNK_BYTES = 256 * 1024;

const virStreamNew: (conn: ConnectPtr, flags: number) => StreamPtr | null = bind(
  'void *virStreamNew(void *conn, unsigned int flags)',
);
const virStreamFree: (stream: StreamPtr) => number = bind('int virStreamFree(void *stream)');
const virStreamFinish: (stream: StreamPtr) => number = bind('int virStreamFinish(void *stream)');
const virStreamAbort: (stream: StreamPtr) => number = bind('int virStreamAbort(void *stream)');
const virStreamSend: (stream: StreamPtr, data: Uint8Array, bytes: number) => number = bind(
  'int virStreamSend(void *stream, const uint8_t *data, size_t bytes)',
);
const virStreamRecvFlags: (stream: StreamPtr, data: Uint8Array, bytes: number, flags: number) => number = bind(
  'int virStreamRecvFlags(void *stream, _Out_ uint8_t *data, size_t bytes, unsigned int flags)',
);
const virStreamRecvHole: (stream: StreamPtr, length: Out<number>, flags: number) => number = bind(
  'int virStreamRecvHole(void *stream, _Out_ long long *length, unsigned int flags)',
);
const virStreamSendHole: (stream: StreamPtr, length: number, flags: number) => number = bind(
  'int virStreamSendHole(void *stream, long long length, unsigned int flags)',
);

/** Runs `use` with a new stream; finishes it when `use` returns, aborts it when `use` throws, frees it in both cases. */
export function withStream<T>(conn: ConnectPtr, use: (stream: StreamPtr) => T): T {
  const stream = check('virStreamNew', virStreamNew(conn, 0));
  try {
    const result = run(stream, use);
    check('virStreamFinish', virStreamFinish(stream));
    return result;
  } finally {
    virStreamFree(stream);
  }
}

function run<T>(stream: StreamPtr, use: (stream: StreamPtr) => T): T {
  try {
    return use(stream);
  } catch (error) {
    // `error` was read from libvirt already; the abort's own outcome changes nothing for the caller.
    virStreamAbort(stream);
    throw error;
  }
}

/** Sends all of `data`. */
export function send(stream: StreamPtr, data: Uint8Array): void {
  for (let sent = 0; sent < data.length; ) {
    const rest = data.subarray(sent, sent + STREAM_CHUNK_BYTES);
    sent += check('virStreamSend', virStreamSend(stream, rest, rest.length));
  }
}

/** Tells the other side of `length` bytes that read as zero. Only on a stream that was opened as sparse. */
export function sendHole(stream: StreamPtr, length: number): void {
  check('virStreamSendHole', virStreamSendHole(stream, length, 0));
}

/** Receives into `buffer`: the number of bytes, 0 at the end. */
export const recv = (stream: StreamPtr, buffer: Uint8Array): number =>
  check('virStreamRecv', virStreamRecvFlags(stream, buffer, buffer.length, 0));

/** Receives from a sparse stream: bytes of data in `buffer`, or the length of a hole; both 0 at the end. */
export function recvSparse(stream: StreamPtr, buffer: Uint8Array): { data: number; hole: number } {
  const got = virStreamRecvFlags(stream, buffer, buffer.length, VIR_STREAM_RECV_STOP_AT_HOLE);
  if (got !== AT_HOLE) return { data: check('virStreamRecvFlags', got), hole: 0 };
  const length: Out<number> = [0];
  check('virStreamRecvHole', virStreamRecvHole(stream, length, 0));
  return { data: 0, hole: length[0] };
}
