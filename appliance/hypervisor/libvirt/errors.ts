/** libvirt's errors as Rehost's: the code that tells what to do, libvirt's own words kept. */
import { LibvirtError, VIR_ERR } from '../../../native/libvirt/error.ts';
import { type ErrorCode, RehostError } from '../../api/errors.ts';

/** errno(3) values of Linux that say what to do. */
const EEXIST = 17;
const ENOSPC = 28;
const EDQUOT = 122;

const BY_CODE: ReadonlyMap<number, ErrorCode> = new Map([
  [VIR_ERR.NO_DOMAIN, 'NOT_FOUND'],
  [VIR_ERR.NO_STORAGE_VOL, 'NOT_FOUND'],
  [VIR_ERR.NO_STORAGE_POOL, 'POOL_UNKNOWN'],
  [VIR_ERR.NO_NETWORK, 'NETWORK_UNKNOWN'],
  [VIR_ERR.STORAGE_VOL_EXIST, 'NAME_TAKEN'],
  [VIR_ERR.DOM_EXIST, 'NAME_TAKEN'],
]);
const BY_ERRNO: ReadonlyMap<number, ErrorCode> = new Map([
  [EEXIST, 'NAME_TAKEN'],
  [ENOSPC, 'POOL_FULL'],
  [EDQUOT, 'POOL_FULL'],
]);
/** Where a tool of the host ran out of room, libvirt passes on what it said instead of an errno. */
const FULL = /No space left on device|Not enough free space|Disk quota exceeded/i;

/** `what` was tried, as the beginning of a sentence: "The volume x of pool y could not be made". */
export function toRehostError(what: string, error: unknown): RehostError {
  if (error instanceof RehostError) return error;
  if (!(error instanceof LibvirtError)) {
    const message = error instanceof Error ? error.message : String(error);
    return new RehostError('INTERNAL', `${what}: ${message}`, { cause: error });
  }
  return new RehostError(codeOf(error), `${what}: ${error.message}`, { cause: error });
}

function codeOf(error: LibvirtError): ErrorCode {
  if (error.code === VIR_ERR.OPERATION_TIMEOUT && error.lost) return 'TIMEOUT';
  if (error.lost) return 'HYPERVISOR_UNREACHABLE';
  const known = BY_CODE.get(error.code) ?? BY_ERRNO.get(error.errno);
  if (known !== undefined) return known;
  return FULL.test(error.message) ? 'POOL_FULL' : 'HYPERVISOR_REFUSED';
}

/** Did libvirt refuse with this number? */
export function isLibvirt(error: unknown, code: number): boolean {
  return error instanceof LibvirtError && error.code === code;
}
