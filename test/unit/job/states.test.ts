import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RehostError, toWire } from '../../../appliance/api/errors.ts';
import { JOB_STATES, type JobState } from '../../../appliance/api/job.ts';
import { followingState } from '../../../appliance/job/following-state.ts';
import { HANDLERS } from '../../../appliance/job/handlers.ts';
import { hasEnded, isWorking, STATES } from '../../../appliance/job/states.ts';
import { job } from '../../lab/orchestrator/job.ts';

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
    JOB_STATES.filter((state) => !['clean-up', 'failed', 'cancelled', 'recheck', 'recheck-end'].includes(state)),
  );
});

test('states: a failure anywhere leads to the clean-up, and the clean-up to an end', () => {
  for (const state of JOB_STATES) {
    if (isWorking(state)) assert.equal(STATES[state].otherwise, 'clean-up', state);
  }
  assert.equal(STATES['clean-up'].next, 'failed');
});

test('states: a check of an ended job never leads to the clean-up, whatever becomes of it', () => {
  const failure = toWire(new RehostError('TIMEOUT', 'No answer.'));
  for (const state of ['recheck', 'recheck-end'] as const) {
    for (const end of [undefined, failure]) {
      for (const cancelRequested of [true, false]) {
        const ended = job('abcdef', { state, cancelRequested });
        const next = followingState(ended, { failure: end, again: false });
        assert.equal(next, state === 'recheck' ? 'recheck-end' : 'done');
        assert.equal(ended.error, null);
        const failed = job('abcdef', { state, cancelRequested, error: failure });
        assert.equal(followingState(failed, { failure: end, again: false }), state === 'recheck' ? next : 'failed');
        assert.deepEqual(failed.error, failure);
      }
    }
  }
});
