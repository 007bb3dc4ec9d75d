/** The orchestrator's identity: one CA made at first start, and the server certificate that it signed. Agents and receivers pin the CA. */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { chmod, mkdtemp, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { RehostError } from '../api/errors.ts';
import { ORCHESTRATOR_NAME } from '../api/transfer.ts';
import { syncFolder } from '../store/durable-file.ts';
import { makeCertificates } from './certificate-tool.ts';

export interface Identity {
  /** The CA's certificate: what clients pin. */
  caPem: string;
  caDer: Buffer;
  /** SHA-256, hex, of the CA's DER. */
  pin: string;
  /** Server certificate, then the CA's, so that a client that knows the pin only can check the chain. */
  chainPem: string;
  keyPem: string;
}

const FOLDER = 'tls';
const NEW_PREFIX = 'tls.new-';
const KEYS = ['ca.key', 'server.key'];
const FILES = [...KEYS, 'ca.crt', 'server.crt'];

/**
 * The identity kept below `stateDir` (locked by the caller); made there where there is none yet: complete or not at all.
 * STORE_DAMAGED where the files do not belong together: they are never replaced, since everything that runs has pinned them.
 */
export async function loadIdentity(stateDir: string): Promise<Identity> {
  const entries = await readdir(stateDir);
  for (const left of entries.filter((name) => name.startsWith(NEW_PREFIX))) {
    await rm(join(stateDir, left), { recursive: true });
  }
  const folder = join(stateDir, FOLDER);
  if (!entries.includes(FOLDER)) await makeIdentity(stateDir, folder);
  try {
    return await readIdentity(folder);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RehostError('STORE_DAMAGED', `The certificates in ${folder} cannot be used: ${why}`, {
      cause,
      safe: 'The files were kept as they are.',
      next: 'Restore the folder from a backup, or move it aside: then every machine must be approved anew.',
    });
  }
}

async function makeIdentity(stateDir: string, folder: string): Promise<void> {
  const work = await mkdtemp(join(stateDir, NEW_PREFIX));
  try {
    await makeCertificates(work);
    for (const name of await readdir(work)) if (!FILES.includes(name)) await rm(join(work, name));
    for (const name of FILES) {
      await chmod(join(work, name), 0o600);
      const file = await open(join(work, name), 'r');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
    }
    await syncFolder(work);
    await rename(work, folder);
    await syncFolder(stateDir);
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    throw error;
  }
}

async function readIdentity(folder: string): Promise<Identity> {
  const [caKeyPem, keyPem, caPem, serverPem] = await Promise.all(
    FILES.map((name) => readFile(join(folder, name), 'utf8')),
  );
  if (!caKeyPem || !keyPem || !caPem || !serverPem) throw new Error('a file is empty');
  const ca = new X509Certificate(caPem);
  const server = new X509Certificate(serverPem);
  if (!ca.ca || !ca.checkPrivateKey(createPrivateKey(caKeyPem))) throw new Error('ca.key does not fit ca.crt');
  if (!server.checkPrivateKey(createPrivateKey(keyPem))) throw new Error('server.key does not fit server.crt');
  if (!server.verify(ca.publicKey)) throw new Error('server.crt is not signed by ca.crt');
  if (server.checkHost(ORCHESTRATOR_NAME) === undefined) throw new Error(`server.crt is not for ${ORCHESTRATOR_NAME}`);
  const pin = createHash('sha256').update(ca.raw).digest('hex');
  return { caPem, caDer: ca.raw, pin, chainPem: serverPem + caPem, keyPem };
}
