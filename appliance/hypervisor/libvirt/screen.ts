/** A VM's screen as a PNG. */
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { PNG } from 'pngjs';
import { RehostError } from '../../api/errors.ts';

/** Screens larger than this are refused, pixels a side. */
const SIDE_MAX = 16_384;

const PNG_SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

/** A screenshot as PNG: newer QEMUs make one themselves, older ones give a PPM. HYPERVISOR_REFUSED for anything else. */
export async function toPng(image: Uint8Array): Promise<Buffer> {
  const bytes = Buffer.from(image);
  return bytes.subarray(0, PNG_SIGNATURE.length).equals(PNG_SIGNATURE) ? bytes : await pngFromPpm(image);
}

/** PNG of a binary PPM (P6, 8 bits a channel). */
async function pngFromPpm(ppm: Uint8Array): Promise<Buffer> {
  const { width, height, pixelsAt } = readHeader(ppm);
  const png = new PNG({ width, height, colorType: 2 });
  for (let pixel = 0; pixel < width * height; pixel++) {
    png.data.set(ppm.subarray(pixelsAt + pixel * 3, pixelsAt + pixel * 3 + 3), pixel * 4);
    png.data[pixel * 4 + 3] = 255;
  }
  return await buffer(png.pack().pipe(new PassThrough()));
}

/** The header is four words (magic, width, height, largest value) parted by white space or comments; one white space ends it. */
function readHeader(ppm: Uint8Array): { width: number; height: number; pixelsAt: number } {
  const text = Buffer.from(ppm.subarray(0, 512)).toString('latin1');
  const header = /^P6(?:\s+|#[^\n]*\n)+(\d{1,5})(?:\s+|#[^\n]*\n)+(\d{1,5})(?:\s+|#[^\n]*\n)+255\s/.exec(text);
  const width = Number(header?.[1]);
  const height = Number(header?.[2]);
  const pixelsAt = header?.[0].length ?? 0;
  const sane = width > 0 && height > 0 && width <= SIDE_MAX && height <= SIDE_MAX;
  if (sane && ppm.length >= pixelsAt + width * height * 3) return { width, height, pixelsAt };
  throw new RehostError(
    'HYPERVISOR_REFUSED',
    'The hypervisor sent a screenshot that is neither PNG nor a whole PPM image.',
  );
}
