/** The targets, and the files whose coverage guides each: known before any of them is imported. */

const SERVER = [
  'agent/export/transmit.ts',
  'agent/export/validate.ts',
  'agent/export/wire.ts',
  'agent/export/status.ts',
  'agent/export/content.ts',
  'agent/export/compression.ts',
];

const FILES: Readonly<Record<string, readonly string[]>> = {
  'server-connection': [...SERVER, 'agent/export/negotiate.ts', 'agent/export/io.ts'],
  'server-transmission': [...SERVER, 'agent/export/reader.ts'],
  'client-negotiation': [
    'receiver/copy/client.ts',
    'receiver/copy/wire.ts',
    'receiver/copy/map.ts',
    'receiver/copy/used-ranges.ts',
  ],
  'client-replies': ['receiver/copy/requests.ts', 'receiver/copy/wire.ts'],
  'client-opening': ['receiver/copy/opening.ts'],
  allocation: ['agent/export/allocation/'],
  'client-pull': [
    'receiver/copy/pull.ts',
    'receiver/copy/requests.ts',
    'receiver/copy/block-memory.ts',
    'receiver/copy/block-writer.ts',
    'receiver/copy/rescue.ts',
  ],
};

export const names: readonly string[] = Object.keys(FILES);

/** Parts of the URLs of the files under test. */
export function filesOf(target: string): readonly string[] {
  return FILES[target] ?? [];
}
