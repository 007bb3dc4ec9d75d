/** A failure of an image build, told to the person who started it: what happened, and what to do about it. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
  /** What to do next: one sentence. */
  readonly hint: string;

  constructor(message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.hint = hint;
  }
}
