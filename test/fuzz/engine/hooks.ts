/**
 * Puts modules of the fuzzer in the place of modules of the product, for everybody who imports those: guarded memory, and
 * checksums that can be switched off. Import this file before anything under test.
 */
import { registerHooks } from 'node:module';

const ALLOCATION = '../../../agent/export/allocation';

const INSTEAD: ReadonlyMap<string, string> = new Map([
  [import.meta.resolve('../../../native/memory.ts'), import.meta.resolve('./guarded-memory.ts')],
  [import.meta.resolve(`${ALLOCATION}/ext4-checksums.ts`), import.meta.resolve('../loose/ext4-checksums.ts')],
  [import.meta.resolve(`${ALLOCATION}/btrfs-checksums.ts`), import.meta.resolve('../loose/btrfs-checksums.ts')],
  [import.meta.resolve(`${ALLOCATION}/xfs-superblock.ts`), import.meta.resolve('../loose/xfs-superblock.ts')],
]);

registerHooks({
  resolve(specifier, context, next) {
    const resolved = next(specifier, context);
    const url = INSTEAD.get(resolved.url);
    // The one that takes the place is built on what it replaces.
    return url === undefined || context.parentURL === url ? resolved : { ...resolved, url };
  },
});
