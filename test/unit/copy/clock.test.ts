/** The clock of a copy that does not get on, with times made up by the test. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ProgressClock } from '../../../receiver/copy/clock.ts';

type Phase = 'meeting' | 'copying';
const bounds = { meeting: 900_000, copying: 120_000 };

/** Looks once a second from `from` on, for `seconds`; true when one of the looks said that it is enough. */
function wait(clock: ProgressClock<Phase>, phase: Phase, seen: number, from: number, seconds: number): boolean {
  let over = false;
  for (let second = 1; second <= seconds; second++) over = clock.look(phase, seen, from + second * 1000) || over;
  return over;
}

describe('the clock of a copy', () => {
  it('gives each phase its own time, and the time of one is not that of another', () => {
    const clock = new ProgressClock<Phase>(bounds, 0);
    clock.look('meeting', 0, 0);
    assert.equal(wait(clock, 'meeting', 0, 0, 899), false);
    assert.equal(wait(clock, 'copying', 0, 899_000, 119), false);
    assert.equal(clock.look('copying', 0, 1_019_000), true);
  });

  it('begins anew with every progress', () => {
    const clock = new ProgressClock<Phase>(bounds, 0);
    for (let piece = 0; piece < 10; piece++) assert.equal(wait(clock, 'copying', piece, piece * 100_000, 100), false);
    assert.equal(wait(clock, 'copying', 9, 1_000_000, 100), true);
  });

  it('adds up the spells of one phase between which nothing came', () => {
    const clock = new ProgressClock<Phase>(bounds, 0);
    clock.look('copying', 0, 0);
    let over = false;
    for (let turn = 0; turn < 12; turn++) {
      assert.equal(over, false, `after ${turn} turns`);
      over = wait(clock, 'copying', 0, turn * 20_000, 10);
      wait(clock, 'meeting', 0, turn * 20_000 + 10_000, 10);
    }
    assert.equal(over, true);
  });

  it('does not take an hour without a look for an hour of waiting', () => {
    const clock = new ProgressClock<Phase>(bounds, 0);
    clock.look('copying', 0, 0);
    assert.equal(clock.look('copying', 0, 3_600_000), false);
    assert.equal(wait(clock, 'copying', 0, 3_600_000, 120), true);
  });
});
