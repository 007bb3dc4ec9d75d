/**
 * Fetches the orchestrator's CA from the boot server over plain HTTP and believes it only if it has the pinned hash.
 * Plain node:http: the global fetch loads an HTTP client of its own, which costs start-up time under emulation.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { get } from 'node:http';
import { RehostError } from '../appliance/api/errors.ts';

const PATH = '/boot/ca.pem';
/** A certificate has some 1 KiB. */
const ANSWER_MAX_BYTES = 64 * 1024;
const DEADLINE_MS = 10_000;

export interface PinnedCa {
  pem: string;
  der: Buffer;
}

/** One attempt. TRANSFER_FAILED when the server does not answer as it should, NOT_AUTHORISED when the certificate is not the pinned one. */
export async function fetchCa(bootUrl: string, pin: string): Promise<PinnedCa> {
  return checkCa(await fetchText(bootUrl + PATH), pin);
}

/** The certificate if its DER has the pinned SHA-256 (lower-case hex). Only this one certificate is kept of the text. */
export function checkCa(text: string, pin: string): PinnedCa {
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(text);
  } catch (cause) {
    throw new RehostError('PROTOCOL_VIOLATION', 'The boot server answered something that is no certificate.', {
      cause,
    });
  }
  const hash = createHash('sha256').update(certificate.raw).digest('hex');
  if (hash !== pin)
    throw new RehostError('NOT_AUTHORISED', `The boot server's CA has the hash ${hash}, but ${pin} is pinned.`, {
      safe: 'Nothing was sent to the orchestrator.',
      next: 'Boot this machine again; if this repeats, someone answers in the place of the orchestrator.',
    });
  return { pem: certificate.toString(), der: certificate.raw };
}

function fetchText(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (what: string): void =>
      reject(
        new RehostError('TRANSFER_FAILED', `${url}: ${what}.`, {
          next: 'Check the network and that the orchestrator runs; this machine goes on trying.',
        }),
      );
    const request = get(url, { signal: AbortSignal.timeout(DEADLINE_MS), agent: false }, (response) => {
      if (response.statusCode !== 200) {
        response.destroy();
        fail(`the boot server answered ${response.statusCode ?? 'nothing'}`);
        return;
      }
      const parts: Buffer[] = [];
      let size = 0;
      response.on('data', (part: Buffer) => {
        size += part.length;
        parts.push(part);
        if (size > ANSWER_MAX_BYTES) {
          response.destroy();
          fail(`the answer is larger than ${ANSWER_MAX_BYTES} bytes`);
        }
      });
      response.on('end', () => resolve(Buffer.concat(parts).toString('latin1')));
      response.on('error', (error) => fail(error.message));
    });
    request.on('error', (error) => fail(error.name === 'TimeoutError' ? 'no answer in time' : error.message));
  });
}
