/** What a failed C call says: errno by number and name, the call, and the file it was about. */
import { getSystemErrorMap } from 'node:util';
import koffi from 'koffi';

/** Error of a system call. `code` is errno's name, so that callers can compare it ('ENOSPC') as with Node's own errors. */
export class SysError extends Error {
  override readonly name = 'SysError';
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;
  /** The file or address that the call was about. */
  readonly path: string | undefined;

  constructor(errno: number, syscall: string, path?: string, detail?: string) {
    // libuv's table has negative numbers.
    const [code, text] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, 'unknown error'];
    super(
      `${syscall}${path === undefined ? '' : ` ${path}`}${detail === undefined ? '' : ` ${detail}`}: ${text} (${code})`,
    );
    this.errno = errno;
    this.code = code;
    this.syscall = syscall;
    this.path = path;
  }
}

/** errno of this thread's last koffi call. Read it before any other call. */
export function lastErrno(): number {
  return koffi.errno();
}

/** The SysError of this thread's last koffi call. */
export function lastError(syscall: string, path?: string, detail?: string): SysError {
  return new SysError(koffi.errno(), syscall, path, detail);
}
