import assert from 'node:assert/strict';
import { createHash, createPublicKey, verify } from 'node:crypto';
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Job } from '../../../appliance/api/job.ts';
import { blockCount, journalLayout } from '../../../appliance/api/journal.ts';
import { BLOCK_BYTES } from '../../../appliance/api/transfer.ts';
import { JobLog } from '../../../appliance/job/log.ts';
import { checkManifest, keepManifest } from '../../../appliance/job/manifest/file.ts';
import { manifestKey } from '../../../appliance/job/manifest/signature.ts';
import { temporaryFolder } from '../../lab/orchestrator/folder.ts';
import { job } from '../../lab/orchestrator/job.ts';

const KEY = manifestKey(Buffer.alloc(32, 1));
const disk = (name: string, sizeBytes: number) => ({
  disk: name,
  sizeBytes,
  identity: 'ef'.repeat(32),
  logicalSectorBytes: 512,
  keptAs: null,
  replica: `${name}.raw`,
  overlay: `${name}.qcow2`,
});
/** The second disk's list crosses what one part of the journal holds. */
const DISKS = [disk('sda', 3 * BLOCK_BYTES + 512), disk('sdb', 100_000 * BLOCK_BYTES)];

/** A journal with these disks, and the record of its verification. */
function copied(): { journal: Buffer; record: Job } {
  const { sections, sizeBytes } = journalLayout(DISKS);
  const journal = Buffer.alloc(sizeBytes, 0x5a);
  const manifests = DISKS.map(({ disk: name, sizeBytes: bytes }, index) => {
    const start = sections[index]?.list ?? 0;
    const blocks = blockCount(bytes);
    const list = journal.subarray(start, start + blocks * 16);
    list.fill(index + 1);
    const sha256 = createHash('sha256').update(list).digest('hex');
    return { disk: name, sha256, blocks, bytes, holes: 'read' as const };
  });
  return { journal, record: job('abcdef', { disks: DISKS, manifests }) };
}

const inParts = (journal: Buffer, bytes: number) => async (offset: number) => journal.subarray(offset, offset + bytes);

async function newLog(t: TestContext): Promise<JobLog> {
  return new JobLog(await temporaryFolder(t), 'abcdef', assert.fail);
}

void test('manifest: it is the journal, whatever parts it comes in, and its signature is checked', async (t) => {
  const { journal, record } = copied();
  for (const bytes of [4096, 100_003, 700_000, journal.length]) {
    const log = await newLog(t);
    const signature = await keepManifest(record, log, KEY, inParts(journal, bytes));
    const path = await checkManifest(record, log, KEY);
    assert.deepEqual(await readFile(path), journal);
    for (const name of ['manifest', 'manifest.sig']) assert.equal((await stat(log.file(name))).mode & 0o777, 0o600);
    // Others can check it with the public key alone.
    const kept = JSON.parse(await readFile(log.file('manifest.sig'), 'utf8'));
    assert.deepEqual(kept, signature);
    const signed = Buffer.from(kept.signature, 'base64');
    assert.ok(verify(null, Buffer.from(kept.text), createPublicKey(kept.publicKey), signed));
    assert.ok(kept.text.includes(createHash('sha256').update(journal).digest('hex')));
  }
});

void test('manifest: padding behind the last list may be left out', async (t) => {
  const { journal, record } = copied();
  const end = journalLayout(DISKS).sections.at(-1)?.end ?? 0;
  assert.ok(end < journal.length);
  const log = await newLog(t);
  await keepManifest(record, log, KEY, inParts(journal.subarray(0, end), 500_000));
  assert.equal((await stat(await checkManifest(record, log, KEY))).size, end);
});

void test('manifest: a journal that is short, long or not what was announced is not kept', async (t) => {
  const { journal, record } = copied();
  const changed = Buffer.from(journal);
  const at = (journalLayout(DISKS).sections[1]?.list ?? 0) + 99_999 * 16;
  changed[at] = (changed[at] ?? 0) ^ 1;
  for (const [what, readPart] of [
    ['short', inParts(journal.subarray(0, 200_000), 4096)],
    ['long', async () => Buffer.alloc(journal.length + 1)],
    ['one bit', inParts(changed, 500_000)],
  ] as const) {
    const log = await newLog(t);
    await assert.rejects(keepManifest(record, log, KEY, readPart), { code: 'PROTOCOL_VIOLATION' }, what);
    await assert.rejects(checkManifest(record, log, KEY), { code: 'NOT_FOUND' }, what);
    assert.deepEqual(await readdir(dirname(log.path)), [], what);
  }
});

void test('manifest: every change of the file, the record or the key is noticed', async (t) => {
  const { journal, record } = copied();
  const log = await newLog(t);
  await keepManifest(record, log, KEY, inParts(journal, 500_000));
  const [first, second] = record.manifests;
  const [sda, sdb] = record.disks;
  assert.ok(first && second && sda && sdb);
  for (const other of [
    { ...record, id: 'bbbbbb' },
    { ...record, manifests: [{ ...first, sha256: '0'.repeat(64) }, second] },
    { ...record, disks: [{ ...sda, sizeBytes: 7 }, sdb] },
    { ...record, disks: [sda, { ...sdb, identity: '0'.repeat(64) }] },
  ]) {
    await assert.rejects(checkManifest(other, log, KEY), { code: 'MANIFEST_INVALID' });
  }
  await assert.rejects(checkManifest(record, log, manifestKey(Buffer.alloc(32, 2))), { code: 'MANIFEST_INVALID' });
  await writeFile(log.file('manifest'), journal.subarray(1));
  await assert.rejects(checkManifest(record, log, KEY), { code: 'MANIFEST_INVALID' });
});
