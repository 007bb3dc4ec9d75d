/** Finding a login prompt in the text of a serial console. */

/** ECMA-48 control sequences (CSI and OSC) and single control characters that consoles send between words. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is removed
const CONTROL = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|[\x00-\x08\x0b\x0c\x0e-\x1f]/g;

/** The prompt's line (for example `db1 login:`), or undefined. It must be the last thing on the console: a line that only mentions a login is none. */
export function findLoginPrompt(text: string): string | undefined {
  const plain = text.replace(CONTROL, '');
  return /(?:^|[\r\n])([^\r\n]{1,80} login:) ?$/.exec(plain)?.[1];
}
