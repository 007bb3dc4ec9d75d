/** Finding a login prompt in the text of a serial console. */
import { stripVTControlCharacters } from 'node:util';

/** The prompt's line (for example `db1 login:`), or undefined. It must be the last thing on the console: a line that only mentions a login is none. */
export function findLoginPrompt(text: string): string | undefined {
  const plain = stripVTControlCharacters(text).replace(/[^\P{Cc}\r\n]/gu, '');
  return /(?:^|[\r\n])([^\r\n]{1,80} login:) ?$/.exec(plain)?.[1];
}
