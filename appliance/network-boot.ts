/** Network boot as the appliance offers it: the boot files always, DHCP and TFTP where an interface is configured. */
import type { FastifyBaseLogger } from 'fastify';
import type { Config } from './config.ts';
import { registerBootFiles } from './pxe/boot-files.ts';
import { startPxe } from './pxe/service.ts';
import type { NetworkBoot } from './server.ts';

/** A dnsmasq that ends by itself is logged: jobs go on, but nothing boots over the network any more. */
export function networkBoot(log: FastifyBaseLogger): NetworkBoot {
  const bootEndpoint = ({ address, httpPort }: Config) => ({ host: address, port: httpPort });
  return {
    registerFiles: (app, { config, identity, port }) => {
      registerBootFiles(app, {
        orchestrator: { host: config.address, port },
        boot: bootEndpoint(config),
        pin: identity.pin,
        imageDir: config.images,
        caPem: identity.caPem,
      });
    },
    start: async ({ config }) => {
      if (!config.pxe) return async () => {};
      const service = await startPxe({
        interface: config.pxe.interface,
        boot: bootEndpoint(config),
        stateDir: config.state,
        log: (line) => log.info({ part: 'dnsmasq' }, line),
        onFailure: (error) => log.error({ err: error }, 'network boot has stopped'),
      });
      return () => service.stop();
    },
  };
}
