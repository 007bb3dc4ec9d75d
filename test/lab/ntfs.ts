/** NTFS images by ntfs-3g's tools, without root, and what those tools say about them. */
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, openSync } from 'node:fs';

/** Makes a volume that fills the image; the image is made when `bytes` are given. */
export function mkntfs(path: string, bytes: number | undefined, options: readonly string[] = []): void {
  if (bytes !== undefined) {
    const fd = openSync(path, 'w');
    ftruncateSync(fd, bytes);
    closeSync(fd);
  }
  execFileSync('mkntfs', ['-F', '-q', '-Q', ...options, path], { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Copies a file into the root directory. */
export function ntfscp(image: string, file: string, name: string): void {
  execFileSync('ntfscp', ['-q', image, file, name], { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** Content of a file, by the number of its record. */
export function ntfscat(image: string, record: number): Buffer {
  return execFileSync('ntfscat', ['-i', String(record), image], {
    stdio: ['ignore', 'pipe', 'pipe'],
    maxBuffer: 1 << 28,
  });
}

/** Where the unnamed data of a record begins, in clusters. */
export function firstCluster(image: string, record: number): number {
  const text = execFileSync('ntfscluster', ['-I', String(record), image], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const found = /0x80 - non-resident\n.*\n\s+0\s+(\d+)\s+\d+/.exec(text);
  if (!found) throw new Error(`ntfscluster says '${text}'`);
  return Number(found[1]);
}

/** Free ranges by the content of $Bitmap as ntfscat reads it; bytes from the volume's start. */
export function bitmapFree(image: string, clusterBytes: number): [number, number][] {
  const bitmap = ntfscat(image, 6);
  const ranges: [number, number][] = [];
  for (let cluster = 0; cluster < bitmap.length * 8; cluster++) {
    if ((((bitmap[cluster >> 3] ?? 0) >> (cluster & 7)) & 1) !== 0) continue;
    const last = ranges.at(-1);
    if (last && last[1] === cluster * clusterBytes) last[1] += clusterBytes;
    else ranges.push([cluster * clusterBytes, (cluster + 1) * clusterBytes]);
  }
  return ranges;
}
