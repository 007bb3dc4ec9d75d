/** Error numbers of libvirt (virErrorNumber of libvirt/virterror.h): the ones that callers tell apart. No native code here. */
export const VIR_ERR = {
  INTERNAL_ERROR: 1,
  NO_SUPPORT: 3,
  DOM_EXIST: 28,
  SYSTEM_ERROR: 38,
  RPC: 39,
  NO_DOMAIN: 42,
  NO_NETWORK: 43,
  NO_STORAGE_POOL: 49,
  NO_STORAGE_VOL: 50,
  OPERATION_INVALID: 55,
  NO_INTERFACE: 57,
  OPERATION_TIMEOUT: 68,
  NO_DOMAIN_METADATA: 80,
  STORAGE_VOL_EXIST: 90,
} as const;

/** A libvirt error as it crosses a process boundary. */
export interface LibvirtErrorFacts {
  /** virErrorNumber. */
  code: number;
  /** virErrorDomain: which part of libvirt raised it. */
  domain: number;
  /** libvirt's own message, already formatted. */
  message: string;
  /** The C function that failed. */
  call: string;
  /** errno(3) for a VIR_ERR_SYSTEM_ERROR, else 0. */
  errno: number;
  /** The connection is unusable: it could not be opened, or broke. Whether the call had an effect is unknown. */
  lost: boolean;
}

/** A libvirt call that failed. */
export class LibvirtError extends Error implements LibvirtErrorFacts {
  override readonly name = 'LibvirtError';
  readonly code: number;
  readonly domain: number;
  readonly call: string;
  readonly errno: number;
  readonly lost: boolean;

  constructor(facts: LibvirtErrorFacts) {
    super(facts.message);
    this.code = facts.code;
    this.domain = facts.domain;
    this.call = facts.call;
    this.errno = facts.errno;
    this.lost = facts.lost;
  }

  /** This error as it crosses a process boundary; `lost` may be set on the way. */
  facts(lost: boolean = this.lost): LibvirtErrorFacts {
    const { code, domain, message, call, errno } = this;
    return { code, domain, message, call, errno, lost };
  }
}
