/** An image's files in memory. Nothing of it needs root, and owners and times of the build machine cannot leak into it. */
import { ImageError } from './errors.ts';

export type Entry =
  | { readonly kind: 'dir' }
  | { readonly kind: 'file'; readonly data: Buffer; readonly executable: boolean }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'char'; readonly major: number; readonly minor: number };

/** Paths are relative to the image's root, without a slash at either end. Parents are made as needed. */
export class Tree {
  readonly #entries = new Map<string, Entry>();

  /** Adds an entry. The same path twice must mean the same kind; the later one wins, except that a folder stays a folder. */
  add(path: string, entry: Entry): void {
    check(path);
    const old = this.#entries.get(path);
    if (old !== undefined && old.kind !== entry.kind) {
      throw new ImageError(
        `The image would hold ${path} as ${old.kind} and as ${entry.kind}.`,
        "Correct the image's list.",
      );
    }
    const slash = path.lastIndexOf('/');
    if (slash > 0) this.#parent(path.slice(0, slash));
    this.#entries.set(path, entry);
  }

  has(path: string): boolean {
    return this.#entries.has(path);
  }

  get(path: string): Entry | undefined {
    return this.#entries.get(path);
  }

  /** All entries, parents before children, in an order that depends on nothing but the paths. */
  sorted(): [string, Entry][] {
    return [...this.#entries].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  /** What this tree has beyond `other`. Folders that files need are there in both. */
  beyond(other: Tree): Tree {
    const rest = new Tree();
    for (const [path, entry] of this.sorted()) {
      if (!other.has(path)) rest.#entries.set(path, entry);
    }
    return rest;
  }

  /** Bytes of all file contents. */
  get bytes(): number {
    let sum = 0;
    for (const entry of this.#entries.values()) if (entry.kind === 'file') sum += entry.data.length;
    return sum;
  }

  #parent(path: string): void {
    const entry = this.#entries.get(path);
    if (entry?.kind === 'dir' || entry?.kind === 'link') return;
    this.add(path, { kind: 'dir' });
  }
}

function check(path: string): void {
  if (path === '' || path.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    throw new ImageError(`'${path}' is not a path inside an image.`, "Correct the image's list.");
  }
}
