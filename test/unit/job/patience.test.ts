import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RehostError } from '../../../appliance/api/errors.ts';
import { Patience } from '../../../appliance/job/patience.ts';

const absent = () => undefined;

test('patience: an answer is passed on, and an absence within the limit is waited for', async () => {
  const patience = new Patience(60_000, 'AGENT_LOST', 'The agent has not answered');
  assert.equal(await patience.attempt(absent), undefined);
  assert.equal(await patience.attempt(async () => 7), 7);
});

test('patience: an absence beyond the limit becomes the named error', async () => {
  const patience = new Patience(-1, 'AGENT_LOST', 'The agent has not answered');
  await assert.rejects(patience.attempt(absent), { code: 'AGENT_LOST' });
});

test('patience: a closed channel counts as an absence, an error of the other end does not', async () => {
  const patience = new Patience(60_000, 'RECEIVER_LOST', 'The transfer VM has not answered');
  const closed = () => Promise.reject(new RehostError('TRANSFER_FAILED', 'closed'));
  assert.equal(await patience.attempt(closed), undefined);
  await assert.rejects(
    patience.attempt(() => Promise.reject(new RehostError('VERIFY_MISMATCH', 'a bit flipped'))),
    { code: 'VERIFY_MISMATCH' },
  );
});
