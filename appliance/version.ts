/** The version that `health` and `--version` say; a test holds it to package.json's. */
export const VERSION = '0.1.0';
