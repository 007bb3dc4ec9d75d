/** Screenshots arrive as PNG or PPM and leave as PNG. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PNG } from 'pngjs';
import { toPng } from '../../../appliance/hypervisor/libvirt/screen.ts';

const ppm = (header: string, ...pixels: number[]): Buffer => Buffer.concat([Buffer.from(header), Buffer.from(pixels)]);

void test('hypervisor-screen: every pixel of a PPM is in the PNG, also where one looks like white space', async () => {
  const image = ppm('P6\n# by a test\n3 2\n255\n', 10, 32, 13, 255, 0, 0, 0, 255, 0, 0, 0, 255, 1, 2, 3, 9, 9, 9);
  const png = PNG.sync.read(await toPng(image));
  assert.deepEqual([png.width, png.height], [3, 2]);
  assert.deepEqual(
    [...png.data],
    [10, 32, 13, 255, 255, 0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 1, 2, 3, 255, 9, 9, 9, 255],
  );
});

void test('hypervisor-screen: a PNG stays as it is', async () => {
  const png = PNG.sync.write(new PNG({ width: 1, height: 1 }));
  assert.ok((await toPng(png)).equals(png));
});

void test('hypervisor-screen: anything else is refused', async () => {
  const pixels = new Array<number>(18).fill(0);
  const bad = [
    ppm(''),
    ppm('P6\n3 2\n255\n', ...pixels.slice(1)),
    ppm('P6\n0 2\n255\n'),
    ppm('P6\n99999 99999\n255\n', ...pixels),
    ppm('P6\n3 2\n65535\n', ...pixels),
    ppm('P3\n3 2\n255\n', ...pixels),
  ];
  for (const image of bad) await assert.rejects(toPng(image), { code: 'HYPERVISOR_REFUSED' });
});
