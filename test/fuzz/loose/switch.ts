/**
 * Checksums keep nearly every change of an image from being looked at any further. With the switch on they hold whatever they
 * are, so that the checks behind them have to hold by themselves.
 */
export const looseChecksums = { on: false };
