/** The appliance's signature under a manifest: what it once verified, nobody changes unseen. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import type { Job } from '../../api/job.ts';

/** RFC 8410: the DER of an Ed25519 private key before its 32 bytes of seed. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

/** Kept beside the manifest, as JSON. */
export interface ManifestSignature {
  /** What is signed, in words that a person can check. */
  text: string;
  /** Ed25519 over the text in UTF-8, base64. */
  signature: string;
  /** SPKI PEM, for others; the appliance itself trusts its own key only. */
  publicKey: string;
  /** SHA-256, hex, of the public key's DER. */
  fingerprint: string;
}

/** The signing key of a 32-byte seed. */
export function manifestKey(seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, seed]), format: 'der', type: 'pkcs8' });
}

/** `fileSha256` is the manifest file's, hex. */
export function signManifest(key: KeyObject, job: Job, fileSha256: string): ManifestSignature {
  const text = signedText(job, fileSha256);
  const publicKey = createPublicKey(key);
  return {
    text,
    signature: sign(null, Buffer.from(text), key).toString('base64'),
    publicKey: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
    fingerprint: createHash('sha256')
      .update(publicKey.export({ format: 'der', type: 'spki' }))
      .digest('hex'),
  };
}

/** Did this appliance sign this file as the manifest of this job, with these disks and sums? */
export function signatureHolds(key: KeyObject, job: Job, fileSha256: string, signature: string): boolean {
  return verify(null, Buffer.from(signedText(job, fileSha256)), createPublicKey(key), Buffer.from(signature, 'base64'));
}

/** Bound to the job and to each disk, so that no other job's manifest takes its place. */
function signedText(job: Job, fileSha256: string): string {
  const disks = job.disks.map(({ disk, sizeBytes, identity }) => {
    const manifest = job.manifests.find((one) => one.disk === disk);
    return `disk ${disk} ${sizeBytes} bytes, identity ${identity}, ${manifest?.blocks} blocks, list sha256 ${manifest?.sha256}\n`;
  });
  return `rehost-manifest-1\njob ${job.id}\n${disks.join('')}file sha256 ${fileSha256}\n`;
}
