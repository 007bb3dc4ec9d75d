/** Certificates for tests, made by openssl: a CA, and a server's signed by it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TestPki {
  caPem: string;
  serverPem: string;
  serverKey: string;
}

/** A fresh CA and a server certificate for `name`. */
export function makePki(name: string): TestPki {
  const folder = mkdtempSync(join(tmpdir(), 'rehost-pki-'));
  const openssl = (...argv: string[]): void => {
    execFileSync('openssl', argv, { cwd: folder, stdio: ['ignore', 'ignore', 'pipe'], timeout: 60_000 });
  };
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  try {
    openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test ca', '-days', '2');
    openssl('req', ...key, '-keyout', 's.key', '-out', 's.csr', '-subj', '/CN=test server');
    writeFileSync(join(folder, 'ext'), `subjectAltName=DNS:${name}\n`);
    const sign = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'ext', '-days', '2'];
    openssl('x509', '-req', '-in', 's.csr', ...sign, '-out', 's.pem');
    const read = (file: string): string => readFileSync(join(folder, file), 'utf8');
    return { caPem: read('ca.pem'), serverPem: read('s.pem'), serverKey: read('s.key') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
