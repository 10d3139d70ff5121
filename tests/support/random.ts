/**
 * Random numbers from a seed: the same ones under every runtime, so that a failure can be repeated.
 *
 * @module
 */

/** Gives the next number of `[0, 1)`. */
export type Random = () => number;

/** Mulberry32: 32 bits of state, whole-number arithmetic alone. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * `length` numbers near the normal distribution of variance 1: sums of four uniform ones. The
 * logarithm of the exact way differs between engines.
 */
export function normals(length: number, random: Random, spread = 1): Float32Array {
  const one = () => (random() + random() + random() + random() - 2) * Math.sqrt(3) * spread;
  return Float32Array.from({ length }, one);
}

/** A whole number from `least` to `most`. */
export function whole(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}

/** The numbers 0 to `length - 1` in some order. */
export function shuffled(length: number, random: Random): number[] {
  const order = Array.from({ length }, (_, index) => index);
  for (let at = length - 1; at > 0; at--) {
    const other = whole(random, 0, at);
    [order[at], order[other]] = [order[other], order[at]];
  }
  return order;
}
