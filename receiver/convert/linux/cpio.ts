/**
 * Walks a cpio archive in the "newc" format (070701; 070702 with checksums) as it streams by, without keeping it: the
 * format is described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
 */
import { RehostError } from '../../../appliance/api/errors.ts';

export interface CpioEntry {
  name: string;
  /** Bytes of content. */
  size: number;
}

export interface CpioVisitor {
  /** Called per entry. Answer true to get its content. */
  entry(entry: CpioEntry): boolean;
  /** The content that was asked for, whole. */
  content(entry: CpioEntry, bytes: Buffer): void;
}

const HEADER_BYTES = 110;
/** PATH_MAX: the kernel's unpacker takes no longer name either. */
const NAME_MAX_BYTES = 4096;
/** Content is only handed out of small files. */
const CONTENT_MAX_BYTES = 64 * 1024;
const TRAILER = 'TRAILER!!!';

type State = 'header' | 'name' | 'content' | 'skip' | 'trailer';

/** A parser of one archive; feed it pieces until `ended`. */
export class CpioReader {
  readonly #visitor: CpioVisitor;
  #state: State = 'header';
  /** Bytes that the present state still needs before it can go on. */
  #need = HEADER_BYTES;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #entry: CpioEntry = { name: '', size: 0 };
  #nameBytes = 0;

  constructor(visitor: CpioVisitor) {
    this.#visitor = visitor;
  }

  /** The trailer has been read: what follows is padding, another archive or a compressed one. */
  get ended(): boolean {
    return this.#state === 'trailer';
  }

  /** At the start of an entry, where an archive that lacks its trailer may end. */
  get atBoundary(): boolean {
    return this.ended || (this.#state === 'header' && this.#heldBytes === 0);
  }

  /** Takes a piece; answers how many of its bytes belonged to this archive. Throws CONVERSION_FAILED on what is no cpio. */
  push(piece: Buffer): number {
    let at = 0;
    while (at < piece.length && this.#state !== 'trailer') {
      const take = Math.min(this.#need - this.#heldBytes, piece.length - at);
      if (this.#state !== 'skip') this.#held.push(piece.subarray(at, at + take));
      this.#heldBytes += take;
      at += take;
      // A state may need nothing (content of zero bytes): it is left at once, until one waits for bytes.
      while (this.#heldBytes === this.#need && !this.ended) this.#advance(Buffer.concat(this.#held));
    }
    return at;
  }

  #advance(bytes: Buffer): void {
    switch (this.#state) {
      case 'header':
        this.#header(bytes);
        break;
      case 'name':
        this.#name(bytes);
        break;
      case 'content':
        this.#visitor.content(this.#entry, bytes.subarray(0, this.#entry.size));
        this.#enter('header', HEADER_BYTES);
        break;
      case 'skip':
        this.#enter('header', HEADER_BYTES);
        break;
      case 'trailer':
        break;
    }
  }

  #header(bytes: Buffer): void {
    const text = bytes.toString('latin1');
    if (!/^07070[12][0-9a-fA-F]{104}$/.test(text)) throw invalid('an entry has no header');
    // Fields are eight hex digits each, after the magic of six: file size is the 7th, name size the 12th.
    const field = (index: number): number => Number.parseInt(text.slice(6 + index * 8, 14 + index * 8), 16);
    this.#entry = { name: '', size: field(6) };
    this.#nameBytes = field(11);
    if (this.#nameBytes < 1 || this.#nameBytes > NAME_MAX_BYTES) throw invalid('a name is too long');
    // Header and name together are padded to four bytes, and so is the content.
    this.#enter('name', padded(HEADER_BYTES + this.#nameBytes) - HEADER_BYTES);
  }

  #name(bytes: Buffer): void {
    this.#entry.name = bytes.subarray(0, this.#nameBytes - 1).toString('latin1');
    if (this.#entry.name === TRAILER) {
      this.#enter('trailer', 0);
      return;
    }
    const wanted = this.#visitor.entry(this.#entry) && this.#entry.size <= CONTENT_MAX_BYTES;
    this.#enter(wanted ? 'content' : 'skip', padded(this.#entry.size));
  }

  #enter(state: State, need: number): void {
    this.#state = state;
    this.#need = need;
    this.#held = [];
    this.#heldBytes = 0;
  }
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}

function invalid(why: string): RehostError {
  return new RehostError('CONVERSION_FAILED', `The initramfs is not a cpio archive: ${why}.`);
}
