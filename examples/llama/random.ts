/**
 * Random numbers from a seed: the same ones on every machine.
 *
 * @module
 */

/** Gives the next number of `[0, 1)`. */
export type Random = () => number;

/**
 * Makes random numbers: a counter that steps by 2^32 / golden ratio, its bits mixed by the finalizer
 * of MurmurHash3. Enough for text; not for secrets.
 *
 * @param seed Where they start; the same seed gives the same numbers.
 */
export function createRandom(seed: number): Random {
  let counter = seed | 0;
  return () => {
    counter = (counter + 0x9e3779b9) | 0;
    let bits = counter;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    return ((bits ^ (bits >>> 16)) >>> 0) / 2 ** 32;
  };
}
