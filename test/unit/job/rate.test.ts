import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rate, secondsLeft } from '../../../appliance/job/copy/rate.ts';

void test('rate: the first reading tells nothing; then it is what came over the window', () => {
  const rate = new Rate();
  assert.equal(rate.add(1000, 0), 0);
  assert.equal(rate.add(3000, 2000), 1000);
  // A burst is evened out over the seconds before it.
  assert.equal(rate.add(11_000, 4000), 2500);
});

void test('rate: what is older than the window no longer counts', () => {
  const rate = new Rate();
  for (let second = 0; second <= 20; second++) rate.add(second * 1000, second * 1000);
  for (let second = 21; second <= 40; second++) rate.add(20_000, second * 1000);
  assert.equal(rate.add(20_000, 41_000), 0);
  assert.equal(rate.add(28_000, 42_000), 1000);
});

void test('rate: a counter that begins anew is no negative rate', () => {
  const rate = new Rate();
  rate.add(5000, 0);
  assert.equal(rate.add(0, 1000), 0);
  assert.equal(rate.add(500, 2000), 500);
});

void test('rate: time left is known only while something moves', () => {
  assert.equal(secondsLeft(1000, 0), null);
  assert.equal(secondsLeft(1000, 500), 2);
  assert.equal(secondsLeft(0, 500), 0);
});
