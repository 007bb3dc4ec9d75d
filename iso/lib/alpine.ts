import { ImageError } from './errors.ts';
import type { PackageBase } from './recipe.ts';
export interface AlpineOptions {
  readonly cache: string;
  readonly mirror: string | undefined;
  readonly key: string | undefined;
}
export async function openAlpine(options: AlpineOptions): Promise<PackageBase> {
  throw new ImageError(`x ${options.cache}`, '');
}
