import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JOB_STATES, type JobState } from '../../../appliance/api/job.ts';
import { HANDLERS } from '../../../appliance/job/handlers.ts';
import { hasEnded, STATES } from '../../../appliance/job/states.ts';

test('states: every state that does not end a job has a handler, but preflight, which runs before there is a job', () => {
  for (const state of JOB_STATES) {
    const expected = !hasEnded(state) && state !== 'preflight';
    assert.equal(Object.hasOwn(HANDLERS, state), expected, state);
  }
});

test('states: a job that goes well passes every working state once and ends in done', () => {
  const path: JobState[] = [];
  for (let state: JobState | null = 'preflight'; state; state = STATES[state].next) {
    assert.ok(!path.includes(state), `${state} comes twice`);
    path.push(state);
  }
  assert.equal(path.at(-1), 'done');
  assert.deepEqual(
    path,
    JOB_STATES.filter((state) => !['clean-up', 'failed', 'cancelled'].includes(state)),
  );
});

test('states: a failure anywhere leads to the clean-up, and the clean-up to an end', () => {
  for (const state of JOB_STATES) {
    if (!hasEnded(state)) assert.equal(STATES[state].otherwise, 'clean-up', state);
  }
  assert.equal(STATES['clean-up'].next, 'failed');
});
