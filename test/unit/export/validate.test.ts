import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type Rules, validateRequest } from '../../../agent/export/validate.ts';
import { type RequestHeader, readRequest } from '../../../agent/export/wire.ts';

const MIB = 1024 * 1024;
const rules: Rules = { sizeBytes: 100 * MIB, structured: true, allocation: true, hashes: true };
const plain: Rules = { ...rules, structured: false, allocation: false, hashes: false };
const HASH = 0x5248;
const request = (over: Partial<RequestHeader>): RequestHeader => ({
  flags: 0,
  type: 0,
  cookie: 7n,
  offset: 0n,
  length: 4096,
  ...over,
});

describe('request validation', () => {
  const cases: [string, Partial<RequestHeader>, Rules, object][] = [
    ['a READ', {}, rules, { kind: 'read', offset: 0, length: 4096 }],
    ['an unaligned READ', { offset: 1n, length: 1 }, rules, { kind: 'read', offset: 1, length: 1 }],
    ['the last byte', { offset: BigInt(100 * MIB - 1), length: 1 }, rules, { kind: 'read' }],
    ['one byte beyond the end', { offset: BigInt(100 * MIB), length: 1 }, rules, { kind: 'refused', errno: 22 }],
    ['a READ across the end', { offset: BigInt(100 * MIB - 1), length: 2 }, rules, { kind: 'refused', errno: 22 }],
    ['an offset of 64 bits', { offset: 2n ** 64n - 1n, length: 1 }, rules, { kind: 'refused', errno: 22 }],
    ['a READ of nothing', { length: 0 }, rules, { kind: 'refused', errno: 22 }],
    ['a READ of 32 MiB', { length: 32 * MIB }, rules, { kind: 'read' }],
    ['a READ of more', { length: 32 * MIB + 1 }, rules, { kind: 'refused', errno: 22 }],
    ['a whole READ of 1 MiB', { flags: 4, length: MIB }, rules, { kind: 'read' }],
    ['a whole READ of more', { flags: 4, length: MIB + 1 }, rules, { kind: 'refused', errno: 75 }],
    ['DF without structured replies', { flags: 4 }, plain, { kind: 'refused', errno: 22 }],
    ['FUA on a READ', { flags: 1 }, rules, { kind: 'refused', errno: 22 }],
    ['a WRITE', { type: 1, length: 4096 }, rules, { kind: 'refused', errno: 1, payload: 4096 }],
    ['a WRITE beyond every limit', { type: 1, length: 2 ** 32 - 1 }, rules, { kind: 'broken' }],
    ['DISC', { type: 2 }, rules, { kind: 'disconnect' }],
    ['FLUSH', { type: 3 }, rules, { kind: 'refused', errno: 22 }],
    ['TRIM', { type: 4 }, rules, { kind: 'refused', errno: 1, payload: 0 }],
    ['WRITE_ZEROES', { type: 6 }, rules, { kind: 'refused', errno: 1, payload: 0 }],
    ['BLOCK_STATUS', { type: 7, length: 2 ** 20 }, rules, { kind: 'status', one: false }],
    ['BLOCK_STATUS of one', { type: 7, flags: 8 }, rules, { kind: 'status', one: true }],
    ['BLOCK_STATUS not negotiated', { type: 7 }, plain, { kind: 'refused', errno: 22 }],
    ['BLOCK_STATUS with DF', { type: 7, flags: 4 }, rules, { kind: 'refused', errno: 22 }],
    ['BLOCK_STATUS across the end', { type: 7, offset: BigInt(100 * MIB - 1) }, rules, { kind: 'refused', errno: 22 }],
    ['a hash', { type: HASH, offset: 4096n }, rules, { kind: 'hash', offset: 4096, length: 4096 }],
    ['a hash of a block', { type: HASH, length: 4 * MIB }, rules, { kind: 'hash' }],
    ['a hash of more', { type: HASH, length: 4 * MIB + 1 }, rules, { kind: 'refused', errno: 22 }],
    ['a hash of nothing', { type: HASH, length: 0 }, rules, { kind: 'refused', errno: 22 }],
    ['a hash across the end', { type: HASH, offset: BigInt(100 * MIB - 1) }, rules, { kind: 'refused', errno: 22 }],
    ['a hash with flags', { type: HASH, flags: 4 }, rules, { kind: 'refused', errno: 22 }],
    ['a hash not negotiated', { type: HASH }, { ...rules, hashes: false }, { kind: 'refused', errno: 22 }],
    ['an unknown command', { type: 99 }, rules, { kind: 'refused', errno: 22 }],
  ];
  for (const [name, over, given, expected] of cases) {
    it(`judges ${name}`, () => {
      assert.partialDeepStrictEqual(validateRequest(request(over), given), expected);
    });
  }

  it('never lets a random request read outside of the disk', () => {
    let state = 42;
    const random = (): number => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state;
    };
    const view = new DataView(new ArrayBuffer(28));
    for (let round = 0; round < 20_000; round++) {
      for (let i = 0; i < 28; i += 4) view.setUint32(i, random());
      if (round % 10 !== 0) {
        view.setUint32(0, 0x25609513);
        view.setUint16(4, random() >>> 29);
        view.setUint16(6, round % 5 === 0 ? HASH : random() >>> 28);
        view.setUint32(16, round % 3 === 0 ? random() : 0);
        if (round % 2 === 0) view.setUint32(24, random() >>> 8);
      }
      const parsed = readRequest(view);
      if (!parsed) continue;
      const verdict = validateRequest(parsed, rules);
      if (verdict.kind !== 'read' && verdict.kind !== 'status' && verdict.kind !== 'hash') continue;
      assert.ok(verdict.offset >= 0 && verdict.length > 0 && verdict.offset + verdict.length <= rules.sizeBytes);
    }
  });
});
