/** The two checksums of ext4's metadata: the registers as the kernel's crc16() and crc32c_le() use them, without inversions. */

function table(polynomial: number): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    return value >>> 0;
  });
}

function update(byByte: Uint32Array, seed: number, bytes: Uint8Array): number {
  let crc = seed;
  for (const byte of bytes) crc = (byByte[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return crc >>> 0;
}

// Reflected polynomials: CRC-16/ARC (kernel: lib/crc16.c) and Castagnoli's CRC-32C (RFC 3720, B.4).
const CRC16 = table(0xa001);
const CRC32C = table(0x82f63b78);

/** CRC-16 of `bytes` with `seed` as the register before them. */
export function crc16(seed: number, bytes: Uint8Array): number {
  return update(CRC16, seed, bytes);
}

/** CRC-32C of `bytes` with `seed` as the register before them; neither seed nor result is inverted. */
export function crc32c(seed: number, bytes: Uint8Array): number {
  return update(CRC32C, seed, bytes);
}
