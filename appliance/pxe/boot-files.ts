/** What a booting source machine fetches over plain HTTP: script, kernel, initramfs and CA certificate. Nothing of it is secret. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { RehostError } from '../api/errors.ts';
import { agentScript, type BootFacts, CA_PATH, INITRD_PATH, KERNEL_PATH, SCRIPT_PATH } from './ipxe-script.ts';

export interface BootFilesOptions extends BootFacts {
  /** Folder of all images; the agent's kernel and initramfs are `agent/vmlinuz` and `agent/initrd` in it. */
  imageDir: string;
  /** The orchestrator's CA certificate. */
  caPem: string;
}

/** Every file that is served, by its path: a request chooses one of these or gets nothing. */
const FILES: Record<string, string> = {
  [KERNEL_PATH]: 'agent/vmlinuz',
  [INITRD_PATH]: 'agent/initrd',
};

/** Adds the routes. The facts are checked now (REQUEST_INVALID), the image is looked for at each request (IMAGE_MISSING). */
export function registerBootFiles(app: FastifyInstance, options: BootFilesOptions): void {
  const script = agentScript(options);
  // iPXE only gets; a HEAD would read the whole file to answer its length.
  const route = { exposeHeadRoute: false };
  app.get(SCRIPT_PATH, route, (_request, reply) => reply.type('text/plain; charset=utf-8').send(script));
  app.get(CA_PATH, route, (_request, reply) => reply.type('application/x-pem-file').send(options.caPem));
  for (const [path, file] of Object.entries(FILES)) {
    app.get(path, route, async (_request, reply) => {
      const handle = await openImage(join(options.imageDir, file));
      try {
        const { size } = await handle.stat();
        if (size === 0) throw new RehostError('IMAGE_MISSING', `The agent image's ${file} is empty.`);
        // The length is promised before the content: a file that grows meanwhile is cut there. The stream closes the file.
        const content = handle.createReadStream({ start: 0, end: size - 1 });
        return reply.type('application/octet-stream').header('content-length', size).send(content);
      } catch (error) {
        await handle.close();
        throw error;
      }
    });
  }
}

async function openImage(path: string): ReturnType<typeof open> {
  try {
    return await open(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RehostError('IMAGE_MISSING', `The agent image cannot be read: ${why}.`, { cause });
  }
}
