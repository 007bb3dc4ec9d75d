/** The PXE service alone, inside the lab's namespace: `main.ts STATE_FOLDER INTERFACE [IPXE_FOLDER]`. Reports on stdout; SIGTERM stops it. */
import { RehostError } from '../../../../appliance/api/errors.ts';
import { startPxe } from '../../../../appliance/pxe/service.ts';

const [stateDir = '', name = '', ipxeDir] = process.argv.slice(2);
try {
  const service = await startPxe({
    interface: name,
    boot: { host: '10.77.0.1', port: 8480 },
    stateDir,
    ...(ipxeDir === undefined ? {} : { ipxeDir }),
    onFailure: report,
  });
  // A signal handler alone keeps no process alive; this one lives until it is told to stop.
  const alive = setInterval(() => undefined, 60_000);
  process.once('SIGTERM', () => {
    clearInterval(alive);
    void service.stop().then(() => console.log('stopped'));
  });
  console.log('ready');
} catch (error) {
  if (!(error instanceof RehostError)) throw error;
  report(error);
}

function report({ code, message, next }: RehostError): void {
  console.log(JSON.stringify({ code, message, next }));
}
