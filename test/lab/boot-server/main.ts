/**
 * Network boot without an orchestrator: the real boot files and the real PXE service, for tests of these alone. Runs inside
 * the lab's namespace: `main.ts FOLDER`, with images and certificate in FOLDER. Says `ready` on stdout; ends on SIGTERM.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Fastify from 'fastify';
import { registerBootFiles } from '../../../appliance/pxe/boot-files.ts';
import { startPxe } from '../../../appliance/pxe/service.ts';
import { LAB_ADDRESS, LAB_BRIDGE } from '../namespace.ts';

const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: main.ts FOLDER');
const boot = { host: LAB_ADDRESS, port: 8480 };
const caPem = await readFile(join(folder, 'ca.pem'), 'utf8');
const app = Fastify();
app.addHook('onResponse', async (request, reply) => {
  console.log(`http ${request.method} ${request.url} ${reply.statusCode} ${Math.round(reply.elapsedTime)} ms`);
});
registerBootFiles(app, {
  imageDir: folder,
  caPem,
  pin: createHash('sha256').update(caPem).digest('hex'),
  orchestrator: { host: LAB_ADDRESS, port: 8443 },
  boot,
});
await app.listen({ host: boot.host, port: boot.port });
const pxe = await startPxe({
  interface: LAB_BRIDGE,
  boot,
  stateDir: folder,
  log: (line) => console.log(line),
  onFailure: (error) => {
    console.error(error.message);
    process.exitCode = 1;
    void app.close();
  },
});
process.once('SIGTERM', () => {
  void pxe.stop().then(() => app.close());
});
console.log('ready');
