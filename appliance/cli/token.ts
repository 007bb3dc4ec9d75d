import Type from 'typebox';
import { CreatedToken, TokenView } from '../api/rest.ts';
import { given, numberOption, operand, textOption, usageError } from './arguments.ts';
import { segment } from './client.ts';
import type { Command, Invocation } from './command.ts';
import { EXIT } from './exit-codes.ts';

export const token: Command = {
  name: 'token',
  summary: 'create, list and revoke bearer tokens of the REST API over HTTPS',
  operands: ['create|list|revoke', '[NAME]'],
  options: { role: { type: 'string' }, days: { type: 'string' } },
  optionHelp: {
    '--role ROLE': 'viewer, operator or admin (create; required)',
    '--days N': 'how long it is valid (create); for ever',
  },
  notes: ['A token is printed once, when it is created; only its hash is kept.'],
  async run(invocation) {
    const action = operand(invocation.operands, 0);
    if (action === 'create') await create(invocation);
    else if (action === 'list') await list(invocation);
    else if (action === 'revoke') await revoke(invocation);
    else throw usageError(`'${action}' is not create, list or revoke.`);
    return EXIT.ok;
  },
};

async function create({ client, output, operands, values }: Invocation): Promise<void> {
  const role = textOption(values, 'role');
  if (role === undefined) throw usageError('--role is required.');
  const body = { name: operand(operands, 1), role, ...given({ days: numberOption(values, 'days') }) };
  const created = await client.post('/tokens', body, CreatedToken);
  if (output.json) output.value(created);
  else output.line(created.token);
}

async function list({ client, output }: Invocation): Promise<void> {
  const tokens = await client.get('/tokens', Type.Array(TokenView));
  if (output.json) output.value(tokens);
  else {
    const rows = tokens.map(({ name, role, createdAt, expiresAt }) => [name, role, createdAt, expiresAt ?? 'never']);
    output.table(['NAME', 'ROLE', 'CREATED', 'EXPIRES'], rows);
  }
}

async function revoke({ client, output, operands }: Invocation): Promise<void> {
  const name = operand(operands, 1);
  await client.delete(`/tokens/${segment(name)}`, Type.Null());
  if (output.json) output.value({ revoked: name });
  else output.line(`The token '${name}' is revoked.`);
}
