/**
 * Inputs of the benches.
 *
 * @module
 */

/** Numbers from -1 to 1, the same in every run: a multiplicative congruential generator. */
export function numbers(length: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = state * 48271 % 2147483647;
    return state / 1073741823.5 - 1;
  });
}
