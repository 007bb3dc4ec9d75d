/** Every input that the fuzzer ever found worth keeping, once more: no promise of the code under test may be broken by it. */
import '../../fuzz/engine/hooks.ts';
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { CORPUS, inputsIn } from '../../fuzz/engine/files.ts';
import { decode, encode } from '../../fuzz/engine/records.ts';
import { names } from '../../fuzz/targets/files.ts';

// The hooks must be there before anything under test is imported.
const { targets } = await import('../../fuzz/targets/index.ts');

describe('fuzzing corpus', () => {
  it('has inputs for every target, and no others', () => {
    assert.deepEqual(targets.map(({ name }) => name).sort(), [...names].sort());
    assert.deepEqual(readdirSync(CORPUS).sort(), [...names].sort());
  });

  for (const target of targets) {
    it(`${target.name} holds on its corpus`, () => {
      const inputs = inputsIn(join(CORPUS, target.name));
      assert.ok(inputs.length >= 5, `${inputs.length} inputs`);
      const outcomes = new Set(inputs.map((input) => target.run(decode(input))));
      for (const seed of target.seeds()) target.run(decode(encode(seed)));
      assert.ok(outcomes.size > 1, 'the corpus shows different behaviour');
    });
  }
});
