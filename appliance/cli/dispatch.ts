/** From a command line to a command's run and an exit code. */
import { parseArgs } from 'node:util';
import { toWire } from '../api/errors.ts';
import { usageError } from './arguments.ts';
import { Client } from './client.ts';
import type { Command, Values } from './command.ts';
import { COMMANDS } from './commands.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { Output } from './output.ts';

const SOCKET_DEFAULT = '/run/rehost/rehost.sock';
const COMMON = {
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  socket: { type: 'string' },
} as const;
const COMMON_HELP = {
  '--json': 'print JSON for scripts',
  '--socket PATH': `socket of rehostd; ${SOCKET_DEFAULT}`,
  '--help': 'this help',
};

export interface Streams {
  out: NodeJS.WritableStream & { isTTY?: boolean; columns?: number };
  err: NodeJS.WritableStream;
}

/** Runs one command line; answers the exit code. Never throws: every error is printed with its four facts. */
export async function dispatch(argv: string[], streams: Streams): Promise<number> {
  const output = new Output(streams.out, streams.err, argv.includes('--json'));
  try {
    return await run(argv, output);
  } catch (error) {
    const wire = toWire(error);
    output.error(wire);
    return exitCodeOf(wire.code);
  }
}

async function run(argv: string[], output: Output): Promise<number> {
  const [name, ...rest] = argv;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    const topic = name === 'help' ? rest[0] : undefined;
    output.text(topic === undefined ? overview() : helpOf(find(topic)));
    return name === undefined ? EXIT.usage : EXIT.ok;
  }
  const command = find(name);
  const { values, operands } = read(command, rest);
  if (values.help === true) {
    output.text(helpOf(command));
    return EXIT.ok;
  }
  checkCount(command, operands);
  const socket = typeof values.socket === 'string' ? values.socket : SOCKET_DEFAULT;
  return await command.run({ client: new Client(socket), output, operands, values });
}

function find(name: string): Command {
  const command = COMMANDS.find((known) => known.name === name);
  if (!command) throw usageError(`There is no command '${name}'; 'rehost --help' lists them.`);
  return command;
}

function read(command: Command, args: string[]): { values: Values; operands: string[] } {
  try {
    const parsed = parseArgs({ args, options: { ...command.options, ...COMMON }, allowPositionals: true });
    return { values: parsed.values, operands: parsed.positionals };
  } catch (error) {
    throw usageError(`${command.name}: ${toWire(error).message}`);
  }
}

function checkCount(command: Command, operands: string[]): void {
  const least = command.operands.filter((name) => !name.startsWith('[')).length;
  if (operands.length >= least && operands.length <= command.operands.length) return;
  throw usageError(`Usage: ${['rehost', command.name, ...command.operands].join(' ')}`);
}

function helpOf({ summary, optionHelp, notes, ...command }: Command): string {
  const use = ['rehost', command.name, ...command.operands, '[options]'].join(' ');
  return [`Usage: ${use}`, '', summary, '', ...aligned({ ...optionHelp, ...COMMON_HELP }), ...(notes ?? [])].join('\n');
}

function overview(): string {
  return [
    'Usage: rehost COMMAND [options]',
    '',
    ...aligned(Object.fromEntries(COMMANDS.map((command) => [command.name, command.summary]))),
    '',
    "'rehost help COMMAND' says more. Options of every command:",
    ...aligned(COMMON_HELP),
    '',
    'Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 refused, 5 rehostd unreachable.',
  ].join('\n');
}

/** Two columns. */
function aligned(entries: Readonly<Record<string, string>>): string[] {
  const width = Math.max(...Object.keys(entries).map((word) => word.length));
  return Object.entries(entries).map(([word, meaning]) => `  ${word.padEnd(width)}  ${meaning}`);
}
