/** Makes certificates with the `openssl` command line. Arguments and configuration hold constants only, nothing from outside. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { RehostError } from '../api/errors.ts';
import { ORCHESTRATOR_NAME } from '../api/transfer.ts';

const run = promisify(execFile);
const TOOL_DEADLINE_MS = 30_000;

/**
 * Validity is not what protects these certificates (they are pinned), and a source machine's clock may be decades off after
 * its battery died: so they are valid from the epoch on. The end is RFC 5280's "no well-defined expiration date" (4.1.2.5).
 */
const NOT_BEFORE = '19700101000000Z';
const NOT_AFTER = '99991231235959Z';

/** `openssl ca` is the one subcommand of OpenSSL 3.0 that sets the begin of validity. Paths are relative to its working folder. */
const CONFIGURATION = `
[ca]
default_ca = rehost
[rehost]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any_name
unique_subject = no
[any_name]
commonName = supplied
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:${ORCHESTRATOR_NAME}
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
`;

/**
 * Fills `folder` (ours, empty, mode 0700) with ca.key, ca.crt, server.key and server.crt: EC P-256, keys 0600.
 * TOOL_FAILED with openssl's own message.
 */
export async function makeCertificates(folder: string): Promise<void> {
  await writeFile(join(folder, 'openssl.cnf'), CONFIGURATION);
  await writeFile(join(folder, 'index.txt'), '');
  await makeKey(folder, 'ca.key');
  await makeKey(folder, 'server.key');
  await makeRequest(folder, 'ca.key', 'ca.csr', '/CN=Rehost CA');
  await makeRequest(folder, 'server.key', 'server.csr', `/CN=${ORCHESTRATOR_NAME}`);
  await sign(folder, ['-selfsign', '-in', 'ca.csr', '-extensions', 'authority', '-out', 'ca.crt']);
  await sign(folder, ['-cert', 'ca.crt', '-in', 'server.csr', '-extensions', 'server', '-out', 'server.crt']);
}

async function makeKey(folder: string, name: string): Promise<void> {
  // genpkey makes its output file with mode 0600 (openssl-genpkey(1)); the folder's mode 0700 guards it in any case.
  await openssl(folder, ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', name]);
}

async function makeRequest(folder: string, key: string, out: string, subject: string): Promise<void> {
  await openssl(folder, ['req', '-new', '-config', 'openssl.cnf', '-key', key, '-subj', subject, '-out', out]);
}

async function sign(folder: string, what: string[]): Promise<void> {
  const fixed = ['-config', 'openssl.cnf', '-batch', '-notext', '-keyfile', 'ca.key'];
  await openssl(folder, ['ca', ...fixed, '-startdate', NOT_BEFORE, '-enddate', NOT_AFTER, ...what]);
}

async function openssl(cwd: string, argv: string[]): Promise<void> {
  try {
    await run('openssl', argv, { cwd, timeout: TOOL_DEADLINE_MS });
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
    const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
    throw new RehostError('TOOL_FAILED', `openssl ${argv[0] ?? ''} failed: ${said || String(cause)}`, {
      cause,
      ...(missing ? { next: "Install the Debian package 'openssl'." } : {}),
    });
  }
}
