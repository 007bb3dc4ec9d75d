/** Whether a volume is at rest: not marked dirty, its log closed, not hibernated, and without shadow copies. */
import { Fields, undoFixups } from './ntfs-fields.ts';
import type { Mft, Stream } from './ntfs-mft.ts';
import { ATTRIBUTE } from './ntfs-record.ts';
import { Inconsistent } from './source.ts';

const LOG_RECORD = 2;
const VOLUME_RECORD = 3;
const RESTART_MAGIC = 'RSTR';
const RESTART_PAGE_BYTES = 4096;
/** client_in_use_list of RESTART_AREA when nobody has the log open. */
const NO_CLIENT = 0xffff;
const RESTART_CLEAN = 2;
const LOG_MAX_BYTES = 1024 * 1024 * 1024;
const LOG_STEP_BYTES = 64 * 1024;
const ONES = Buffer.alloc(LOG_STEP_BYTES, 0xff);

/** Inconsistent unless the volume's flags are all clear: dirty, chkdsk at work, to be upgraded, or one that is not known. */
export function checkVolumeFlags(mft: Mft): void {
  const found = mft.record(VOLUME_RECORD).attributes.find(({ type }) => type === ATTRIBUTE.volumeInformation);
  if (!found?.value) throw new Inconsistent('NTFS: it has no volume information');
  const information = new Fields(found.value);
  if (information.u8(8) !== 3) throw new Inconsistent(`NTFS: version ${information.u8(8)} is not known here`);
  const flags = information.u16(10);
  if (flags !== 0)
    throw new Inconsistent(`NTFS: it is marked dirty or in another special state (${flags.toString(16)})`);
}

/**
 * Inconsistent unless the log is empty (all ones, as chkdsk and ntfs-3g leave it) or both of its restart pages hold and the
 * newer one says that the volume was dismounted cleanly. While Windows has a volume in use, and when it is hibernated or was
 * shut down by "fast startup", the log has version 2; a clean dismount makes it 1.1 again.
 */
export function checkLog(mft: Mft): void {
  const log = mft.stream(LOG_RECORD);
  if (
    log.initializedBytes !== log.dataBytes ||
    log.dataBytes < 2 * RESTART_PAGE_BYTES ||
    log.dataBytes > LOG_MAX_BYTES
  ) {
    throw new Inconsistent('NTFS: its log has no plausible size');
  }
  if (isEmptyLog(mft, log)) return;
  const pages = [0, 1].map((index) => readRestart(mft.read(log, index * RESTART_PAGE_BYTES, RESTART_PAGE_BYTES)));
  const [newer] = pages.sort((a, b) => b.lsn - a.lsn);
  if (!newer?.clean) throw new Inconsistent('NTFS: it was not dismounted cleanly');
}

function isEmptyLog(mft: Mft, log: Stream): boolean {
  const scratch = Buffer.alloc(LOG_STEP_BYTES);
  for (let at = 0; at < log.dataBytes; at += LOG_STEP_BYTES) {
    const bytes = mft.read(log, at, Math.min(LOG_STEP_BYTES, log.dataBytes - at), scratch);
    if (!bytes.equals(ONES.subarray(0, bytes.length))) return false;
  }
  return true;
}

function readRestart(raw: Buffer): { lsn: number; clean: boolean } {
  const page = undoFixups(raw, RESTART_MAGIC);
  if (page.u32(16) !== RESTART_PAGE_BYTES) throw new Inconsistent('NTFS: its log has pages of another size');
  const [minor, major] = [page.u16(26), page.u16(28)];
  if (major !== 1 || minor !== 1) throw new Inconsistent(`NTFS: its log has version ${major}.${minor}: it is in use`);
  const area = page.u16(24);
  const clean = page.u16(area + 12) === NO_CLIENT || (page.u16(area + 14) & RESTART_CLEAN) !== 0;
  return { lsn: page.u64(area), clean };
}
