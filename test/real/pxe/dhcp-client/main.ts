/**
 * A PXE client of a given architecture, as far as its packets go: `main.ts ARCHITECTURE [ipxe]`. Discovers, chooses the first
 * item of the boot menu, asks the boot server for it, and prints the answer as JSON. Layouts: RFC 2131, RFC 4578, PXE 2.1.
 */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';

const SERVER_PORT = 67;
const CLIENT_PORT = 68;
const BOOT_SERVER_PORT = 4011;
const BROADCAST = '10.77.0.255';
const OWN_ADDRESS = Buffer.from([10, 77, 0, 2]);
const MAC = Buffer.from([0x52, 0x54, 0, 0xdb, 0, 0x61]);
const XID = 0x52455048;
const COOKIE = Buffer.from([99, 130, 83, 99]);
const HEADER_BYTES = 236;
const ANSWER_LIMIT_MS = 20_000;

const architecture = Number(process.argv[2]);
const isIpxe = process.argv[3] === 'ipxe';

const socket = createSocket('udp4');
await new Promise<void>((resolve) => socket.bind(CLIENT_PORT, resolve));
socket.setBroadcast(true);
try {
  const offered = waitFor(socket, 2);
  socket.send(packet(1, []), SERVER_PORT, BROADCAST);
  const offer = await offered;
  const menuItem = suboptions(offer.options.get(43)).get(9)?.subarray(0, 2);
  // BIOS clients are given a menu and ask for an item of it; UEFI firmware asks without one.
  const item = menuItem ? [option(43, [71, 4, ...menuItem, 0, 0, 255])] : [];
  const acknowledged = waitFor(socket, 5);
  socket.send(packet(3, item), BOOT_SERVER_PORT, offer.from);
  print(offer, await acknowledged);
} finally {
  socket.close();
}

interface Answer {
  from: string;
  offeredAddress: string;
  file: string;
  options: Map<number, Buffer>;
}

function print({ from, offeredAddress }: Answer, { file, options }: Answer): void {
  const named = options.get(67)?.toString('latin1').replace(/\0+$/, '');
  console.log(JSON.stringify({ from, offeredAddress, file: file || (named ?? '') }));
}

function option(code: number, data: readonly number[]): Buffer {
  return Buffer.from([code, data.length, ...data]);
}

function packet(type: number, more: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.set([1, 1, MAC.length, 0]);
  header.writeUInt32BE(XID, 4);
  // Answers are broadcast: this client has no address of its own before it boots.
  header.writeUInt16BE(0x8000, 10);
  if (type === 3) OWN_ADDRESS.copy(header, 12);
  MAC.copy(header, 28);
  const vendor = `PXEClient:Arch:${String(architecture).padStart(5, '0')}:UNDI:002001`;
  return Buffer.concat([
    header,
    COOKIE,
    option(53, [type]),
    option(55, [1, 3, 43, 54, 60, 66, 67, 97]),
    option(60, [...Buffer.from(vendor)]),
    option(93, [architecture >> 8, architecture & 255]),
    option(94, [1, 2, 1]),
    option(97, [0, ...Buffer.alloc(16, 7)]),
    ...(isIpxe ? [option(77, [...Buffer.from('iPXE')]), option(175, [19, 1, 1])] : []),
    ...more,
    Buffer.from([255]),
  ]);
}

/** The first answer of this DHCP message type that comes from a PXE server. */
async function waitFor(from: Socket, type: number): Promise<Answer> {
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`no PXE answer of type ${type} in ${ANSWER_LIMIT_MS} ms`)),
      ANSWER_LIMIT_MS,
    );
    const listener = (data: Buffer, sender: RemoteInfo): void => {
      if (data[0] !== 2 || data.readUInt32BE(4) !== XID) return;
      const options = suboptions(data.subarray(HEADER_BYTES + COOKIE.length));
      if (options.get(53)?.[0] !== type || options.get(60)?.toString('latin1') !== 'PXEClient') return;
      clearTimeout(timer);
      from.off('message', listener);
      const file = data.toString('latin1', 108, HEADER_BYTES).replace(/\0.*$/s, '');
      resolve({ from: sender.address, offeredAddress: [...data.subarray(16, 20)].join('.'), file, options });
    };
    from.on('message', listener);
  });
}

function suboptions(data: Buffer = Buffer.alloc(0)): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at < data.length; ) {
    const code = data[at] ?? 255;
    if (code === 255) break;
    const length = data[at + 1] ?? 0;
    if (code === 0) at += 1;
    else {
      found.set(code, data.subarray(at + 2, at + 2 + length));
      at += 2 + length;
    }
  }
  return found;
}
