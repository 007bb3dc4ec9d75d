/** A job's manifest: the journal of its verified copy, kept in the job's folder with the appliance's signature. */
import { createHash, type Hash, type KeyObject } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import Type from 'typebox';
import { Check } from 'typebox/value';
import { RehostError } from '../../api/errors.ts';
import type { Job } from '../../api/job.ts';
import { blockCount, journalLayout } from '../../api/journal.ts';
import { REHOST_HASH_BYTES } from '../../api/nbd.ts';
import { syncFolder, writeDurably } from '../../store/durable-file.ts';
import type { JobLog } from '../log.ts';
import { type ManifestSignature, signatureHolds, signManifest } from './signature.ts';

const MANIFEST = 'manifest';
const SIGNATURE = 'manifest.sig';
/** A signature names each disk in a line. */
const Signature = Type.Object({
  text: Type.String(),
  signature: Type.String(),
  publicKey: Type.String(),
  fingerprint: Type.String(),
});

/** Answers part of the journal from a byte offset on. */
export type ReadPart = (offset: number) => Promise<Buffer>;

/**
 * Fetches the journal and keeps it, on disk when this resolves. Each disk's list must have the sum that the verification announced
 * (`job.manifests`): PROTOCOL_VIOLATION otherwise, and nothing is kept. Memory does not grow with the disks.
 */
export async function keepManifest(
  job: Job,
  log: JobLog,
  key: KeyObject,
  readPart: ReadPart,
): Promise<ManifestSignature> {
  const path = log.file(MANIFEST);
  const temporary = `${path}.new`;
  const sums = new ListSums(job);
  const whole = createHash('sha256');
  const file = await open(temporary, 'w', 0o600);
  try {
    const { sections, sizeBytes } = journalLayout(job.disks);
    const least = sections.at(-1)?.end ?? 0;
    for (let offset = 0; offset < sizeBytes; ) {
      const part = await readPart(offset);
      // What follows the last section is padding.
      if (part.length === 0 && offset >= least) break;
      if (part.length === 0 || part.length > sizeBytes - offset) {
        throw new RehostError('PROTOCOL_VIOLATION', `The journal does not have ${least} to ${sizeBytes} bytes.`);
      }
      sums.add(part, offset);
      whole.update(part);
      await file.writeFile(part);
      offset += part.length;
    }
    sums.check(job);
    await file.sync();
  } catch (error) {
    await rm(temporary);
    throw error;
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
  const signature = signManifest(key, job, whole.digest('hex'));
  await writeDurably(log.file(SIGNATURE), `${JSON.stringify(signature, null, 1)}\n`);
  return signature;
}

/** The path of a job's manifest, after its signature was checked. NOT_FOUND, MANIFEST_INVALID. */
export async function checkManifest(job: Job, log: JobLog, key: KeyObject): Promise<string> {
  const path = log.file(MANIFEST);
  const whole = createHash('sha256');
  let text: string;
  try {
    text = await readFile(log.file(SIGNATURE), 'utf8');
    await pipeline(createReadStream(path), whole);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
    throw new RehostError('NOT_FOUND', `Job ${job.id} has no manifest.`, {
      cause,
      next: 'A manifest is kept of every copy that was verified; earlier versions kept none.',
    });
  }
  const kept = parse(text);
  if (kept && signatureHolds(key, job, whole.digest('hex'), kept.signature)) return path;
  throw new RehostError('MANIFEST_INVALID', `The manifest of job ${job.id} is not as this appliance signed it.`);
}

function parse(text: string): ManifestSignature | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return Check(Signature, value) ? value : undefined;
  } catch {
    // What is not JSON is no signature; the caller says so.
    return undefined;
  }
}

/** The sum of each disk's list, taken while the journal passes by. */
class ListSums {
  readonly #lists: { disk: string; start: number; end: number; hash: Hash }[];

  constructor({ disks }: Job) {
    const { sections } = journalLayout(disks);
    this.#lists = disks.map(({ disk, sizeBytes }, index) => {
      const start = sections[index]?.list ?? 0;
      return { disk, start, end: start + blockCount(sizeBytes) * REHOST_HASH_BYTES, hash: createHash('sha256') };
    });
  }

  add(part: Buffer, offset: number): void {
    for (const { start, end, hash } of this.#lists) {
      const from = Math.max(start, offset);
      const to = Math.min(end, offset + part.length);
      if (from < to) hash.update(part.subarray(from - offset, to - offset));
    }
  }

  /** To be called once, when all has passed. */
  check({ manifests }: Job): void {
    for (const { disk, hash } of this.#lists) {
      const announced = manifests.find((manifest) => manifest.disk === disk)?.sha256;
      if (hash.digest('hex') === announced) continue;
      throw new RehostError('PROTOCOL_VIOLATION', `The journal's list of disk '${disk}' has not the announced sum.`);
    }
  }
}
