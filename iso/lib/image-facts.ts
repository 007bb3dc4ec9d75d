/** What a finished image says of itself: the content of image.json. The same inputs give the same bytes, so it holds no times. */
export interface ImageFacts {
  readonly name: string;
  readonly base: string;
  /** Hash of everything that the image was made of. */
  readonly key: string;
  readonly kernelRelease: string;
  readonly vmlinuz: FileFacts;
  readonly initrd: FileFacts;
  /** Kernel and initial RAM disk, bytes, and what they may be at most. */
  readonly totalBytes: number;
  readonly budgetBytes: number;
  /** What the initial RAM disk takes in memory once the kernel has unpacked it, bytes. */
  readonly unpackedBytes: number;
  readonly packages: readonly { readonly name: string; readonly version: string }[];
}

export interface FileFacts {
  readonly bytes: number;
  readonly sha256: string;
}
