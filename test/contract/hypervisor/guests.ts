/** The smallest guests there are: real-mode programs that write a line to the first serial port and wait. */

/** Writes the bytes at cs:`textAt` up to a NUL to COM1 (transmitter at port 3f8, line status at 3fd), then halts for ever. */
function speak(textAt: number): number[] {
  return [
    ...[0xfc], // cld
    ...[0xbe, textAt & 0xff, textAt >> 8], // mov si, textAt
    ...[0x2e, 0xac], // next: cs lodsb
    ...[0x84, 0xc0], // test al, al
    ...[0x74, 0x12], // jz done
    ...[0x88, 0xc4], // mov ah, al
    ...[0xba, 0xfd, 0x03], // mov dx, 3fd
    ...[0xec], // wait: in al, dx
    ...[0xa8, 0x20], // test al, 20: may the next byte come?
    ...[0x74, 0xfb], // jz wait
    ...[0x88, 0xe0], // mov al, ah
    ...[0xba, 0xf8, 0x03], // mov dx, 3f8
    ...[0xee], // out dx, al
    ...[0xeb, 0xe8], // jmp next
    ...[0xf4], // done: hlt
    ...[0xeb, 0xfd], // jmp done
  ];
}

const SPEAK_BYTES = speak(0).length;

/** A disk's first sector that says `text` when the BIOS boots it (loaded at 0:7c00). */
export function bootSector(text: string): Buffer {
  const sector = Buffer.alloc(512);
  // jmp 0:7c05, so that cs is 0 whatever the BIOS chose.
  const start = [0xea, 0x05, 0x7c, 0x00, 0x00];
  Buffer.from([...start, ...speak(0x7c00 + start.length + SPEAK_BYTES)]).copy(sector);
  sector.write(`${text}\0`, start.length + SPEAK_BYTES, 'latin1');
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

/**
 * A disk's first sector that writes the disk from its second 64 KiB on with whatever is in memory, as long as the BIOS can, and then
 * says `text`: through the extended write of the enhanced disk drive specification (int 13, ah 43), 64 sectors at a time.
 */
export function writingBootSector(text: string): Buffer {
  const sector = Buffer.alloc(512);
  const packetAt = 0x7c00 + 0x100;
  const code = [
    ...[0xea, 0x05, 0x7c, 0x00, 0x00], // jmp 0:7c05; dl is the boot disk
    ...[0x31, 0xc0], // xor ax, ax
    ...[0x8e, 0xd8], // mov ds, ax
    ...[0xbe, packetAt & 0xff, packetAt >> 8], // next: mov si, packet
    ...[0xb8, 0x00, 0x43], // mov ax, 4300
    ...[0xcd, 0x13], // int 13
    ...[0x72, 0x07], // jc past the loop
    ...[0x83, 0x06, (packetAt + 8) & 0xff, packetAt >> 8, 0x40], // add word [packet + 8], 64
    ...[0xeb, 0xef], // jmp next
  ];
  const speakAt = code.length;
  Buffer.from([...code, ...speak(0x7c00 + speakAt + SPEAK_BYTES)]).copy(sector);
  sector.write(`${text}\0`, speakAt + SPEAK_BYTES, 'latin1');
  // The packet: its size, sectors, offset and segment of the memory, first sector.
  sector.writeUInt16LE(16, 0x100);
  sector.writeUInt16LE(64, 0x102);
  sector.writeUInt16LE(0, 0x104);
  sector.writeUInt16LE(0x1000, 0x106);
  sector.writeUInt32LE(128, 0x108);
  sector.writeUInt16LE(0xaa55, 510);
  return sector;
}

/** A file that boot loaders take for a Linux kernel (boot protocol 2.02); its set-up code says `text`. */
export function speakingKernel(text: string): Buffer {
  const setupSectors = 4;
  // Behind the header, within reach of a short jump.
  const codeAt = 0x70;
  const kernel = Buffer.alloc((1 + setupSectors + 8) * 512);
  kernel[0x1f1] = setupSectors;
  kernel.writeUInt16LE(0xaa55, 0x1fe);
  // The set-up code begins at 0x200, where its segment begins too, with a jump over the header.
  Buffer.from([0xeb, codeAt - 2]).copy(kernel, 0x200);
  kernel.write('HdrS', 0x202, 'latin1');
  kernel.writeUInt16LE(0x0202, 0x206);
  // Protected-mode part at 1 MiB (LOADED_HIGH).
  kernel[0x211] = 1;
  Buffer.from(speak(codeAt + SPEAK_BYTES)).copy(kernel, 0x200 + codeAt);
  kernel.write(`${text}\0`, 0x200 + codeAt + SPEAK_BYTES, 'latin1');
  return kernel;
}
