/**
 * Network boot without an orchestrator: the real boot files and the real PXE service, for tests of these alone. Runs inside
 * the lab's namespace: `main.ts STATE_FOLDER IMAGE_FOLDER`. Says `ready PIN` on stdout; ends on SIGTERM.
 */
import { createHash } from 'node:crypto';
import Fastify from 'fastify';
import { loadIdentity } from '../../../appliance/machine/ca.ts';
import { registerBootFiles } from '../../../appliance/pxe/boot-files.ts';
import { startPxe } from '../../../appliance/pxe/service.ts';
import { LAB_ADDRESS, LAB_BRIDGE } from '../namespace.ts';

const [state, images] = process.argv.slice(2);
if (state === undefined || images === undefined) throw new Error('usage: main.ts STATE_FOLDER IMAGE_FOLDER');
const boot = { host: LAB_ADDRESS, port: 8480 };
const { caPem, caDer } = await loadIdentity(state);
const pin = createHash('sha256').update(caDer).digest('hex');
const app = Fastify();
app.addHook('onResponse', async (request, reply) => {
  console.log(`http ${request.method} ${request.url} ${reply.statusCode} ${Math.round(reply.elapsedTime)} ms`);
});
registerBootFiles(app, {
  imageDir: images,
  caPem,
  pin,
  orchestrator: { host: LAB_ADDRESS, port: 8443 },
  boot,
});
await app.listen({ host: boot.host, port: boot.port });
const pxe = await startPxe({
  interface: LAB_BRIDGE,
  boot,
  stateDir: state,
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
console.log(`ready ${pin}`);
