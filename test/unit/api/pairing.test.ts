import assert from 'node:assert/strict';
import { test } from 'node:test';
import { normalisePairingCode, pairingCode } from '../../../appliance/api/pairing.ts';

const key = Buffer.from(
  '302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
  'hex',
);
const ca = Buffer.from('a certificate in DER');

void test('pairing: the code of a known key and CA does not change', async () => {
  // Computed with Python: hashlib.scrypt(sha256(key) + sha256(ca), salt=b'rehost pairing code v1', n=2**14, r=8, p=1, dklen=5)
  assert.equal(await pairingCode(key, ca), '8DTX-TYE1');
});

void test('pairing: another key or another CA gives another code', async () => {
  const code = await pairingCode(key, ca);
  assert.match(code, /^[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}$/);
  assert.notEqual(await pairingCode(Buffer.concat([key, Buffer.from([0])]), ca), code);
  assert.notEqual(await pairingCode(key, Buffer.from('another certificate')), code);
  // The same bytes, divided between key and certificate in another way.
  assert.notEqual(await pairingCode(Buffer.concat([key, ca.subarray(0, 1)]), ca.subarray(1)), code);
});

void test('pairing: what a person types is read with tolerance', () => {
  for (const typed of ['K0QF-3M1X', 'k0qf-3m1x', 'KOQF3MIX', ' koqf 3mlx ', 'K-0-Q-F-3-M-1-X']) {
    assert.equal(normalisePairingCode(typed), 'K0QF3M1X');
  }
  assert.notEqual(normalisePairingCode('K0QF-3M1Y'), 'K0QF3M1X');
});
