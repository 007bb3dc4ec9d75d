/** Numbers that are the same in every run. */

/** A generator of integers from 0 to below its argument (Numerical Recipes' linear congruential one; the high bits are used). */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
