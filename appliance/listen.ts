/** Opening the servers' sockets. Every refusal is LISTEN_FAILED and names the address. */
import { once } from 'node:events';
import { lstat, mkdir, rm } from 'node:fs/promises';
import { connect, type ListenOptions, type Server } from 'node:net';
import { dirname } from 'node:path';
import { RehostError } from './api/errors.ts';

/** Nobody but the owner: who may open the socket is who may use it. */
const SOCKET_UMASK = 0o177;

/** Listens on TCP; answers the port (the kernel's choice where 0 was asked). */
export async function listenTcp(server: Server, host: string, port: number): Promise<number> {
  await listening(server, { host, port }, `${host} port ${port}`);
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new RehostError('INTERNAL', 'The server has no port.');
  return address.port;
}

/** Listens on a unix socket of mode 0600. A socket that a dead process left is replaced; one that answers is not. */
export async function listenUnix(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await removeDeadSocket(path);
  // The mode counts from the first moment: listen() binds before it returns, so the mask is never changed for anyone else.
  const before = process.umask(SOCKET_UMASK);
  let opened: Promise<void>;
  try {
    opened = listening(server, { path }, path);
  } finally {
    process.umask(before);
  }
  await opened;
}

async function listening(server: Server, options: ListenOptions, where: string): Promise<void> {
  server.listen(options);
  try {
    await once(server, 'listening');
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RehostError('LISTEN_FAILED', `Cannot listen on ${where}: ${why}.`, { cause });
  }
}

async function removeDeadSocket(path: string): Promise<void> {
  const facts = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!facts) return;
  if (!facts.isSocket()) throw new RehostError('LISTEN_FAILED', `${path} is there and is not a socket.`);
  const probe = connect({ path });
  try {
    await once(probe, 'connect');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ECONNREFUSED') return await rm(path);
    throw error;
  } finally {
    probe.destroy();
  }
  throw new RehostError('LISTEN_FAILED', `Another process listens on ${path}.`);
}
