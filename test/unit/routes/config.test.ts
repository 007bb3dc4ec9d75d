import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readConfig } from '../../../appliance/flags.ts';
import { temporaryFolder } from '../../lab/orchestrator/folder.ts';

async function file(t: Parameters<typeof temporaryFolder>[0], content: string): Promise<string> {
  const path = join(await temporaryFolder(t), 'rehost.json');
  await writeFile(path, content);
  return path;
}

void test('config: flags win over variables, variables over the file, the file over the defaults', async (t) => {
  const path = await file(t, '{"port":1001,"httpPort":1002,"listen":"127.0.0.1","address":"a.example"}');
  const environment = { REHOST_CONFIG: path, REHOST_PORT: '2001', REHOST_HTTP_PORT: '2002' };
  const { config } = await readConfig(['--port', '3001', '--pxe-interface', 'br0', '--state', 'x'], environment);
  assert.deepEqual([config.port, config.httpPort, config.listen], [3001, 2002, '127.0.0.1']);
  assert.deepEqual([config.address, config.pxe], ['a.example', { interface: 'br0' }]);
  assert.equal(config.state, join(process.cwd(), 'x'));
  assert.equal(config.hypervisors[0]?.uri, 'qemu:///system');
});

void test('config: what does not fit is CONFIG_INVALID and names where it stands', async (t) => {
  const refusals: [string[], Record<string, string>, RegExp][] = [
    [['--port', '70000'], {}, /--port: '\/port'/],
    [['--port', 'http'], {}, /--port: 'http'/],
    [[], { REHOST_PORT: '-1' }, /REHOST_PORT/],
    [['--colour'], {}, /--colour/],
    [['extra'], {}, /extra/],
    [['--pxe-interface', 'a/../b'], {}, /--pxe-interface/],
    [['--listen', 'a.example'], {}, /--listen/],
    [['--config', '/nowhere/at/all'], {}, /nowhere/],
    [['--config', await file(t, '{')], {}, /rehost\.json|JSON/],
    [['--config', await file(t, '[]')], {}, /not a JSON object/],
    [['--config', await file(t, '{"colour":1}')], {}, /additional properties.*\(colour\)/],
    [['--config', await file(t, '{"hypervisors":[]}')], {}, /hypervisors/],
    [['--config', await file(t, '{"hypervisors":[{"name":"../x"}]}')], {}, /hypervisors\/0/],
  ];
  for (const [argv, environment, message] of refusals) {
    await assert.rejects(readConfig(argv, environment), { code: 'CONFIG_INVALID', message }, argv.join(' '));
  }
});

void test('config: two hypervisors of one name are refused', async (t) => {
  const one = { name: 'a', uri: 'qemu:///system', pool: 'p', network: 'n' };
  const path = await file(t, JSON.stringify({ hypervisors: [one, { ...one, uri: 'qemu+ssh://b/system' }] }));
  await assert.rejects(readConfig(['--config', path], {}), { code: 'CONFIG_INVALID', message: /'a'/ });
});
