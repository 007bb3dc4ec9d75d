/** The one file system that fills an area, if it is one that is understood. */
import { type AreaSpace, notUnderstood, unknownReason } from './area.ts';
import { READERS } from './readers.ts';
import { otherFormat } from './signatures.ts';
import type { StructureSource } from './source.ts';

/** Free space in [start, end) of a disk or a volume. Whatever is not understood is unknown; it does not throw for that. */
export function readFileSystem(source: StructureSource, start: number, end: number): AreaSpace {
  try {
    const claims = READERS.flatMap((reader) => {
      const space = reader.free(source, start, end);
      return space ? [{ reader, space }] : [];
    });
    const [claim, second] = claims;
    if (claim && second) {
      return unknownReason(`it looks like ${claim.reader.format} and like ${second.reader.format}`);
    }
    const other = otherFormat(source, start, end, claim?.reader);
    if (other !== undefined) return unknownReason(other);
    if (!claim) return unknownReason('');
    const known = Float64Array.of(start, claim.space.end);
    return { found: claim.reader.format, free: claim.space.free, known };
  } catch (error) {
    return notUnderstood(error);
  }
}
