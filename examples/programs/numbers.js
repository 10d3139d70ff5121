/**
 * Random numbers that are the same on every machine, in place of what files bring.
 *
 * @module
 */

/** A generator of whole numbers from 0 to before 2^32 (mulberry32). */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** Makes matrices whose products are about as large as what they multiply. */
export function matricesFrom(random) {
  const even = () => random() / 2 ** 31 - 1;
  const number = (deviation) => (even() + even() + even() + even()) * deviation * Math.sqrt(3) / 2;
  return (outputs, inputs, deviation = inputs ** -0.5) => ({
    data: Float32Array.from({ length: outputs * inputs }, () => number(deviation)),
    shape: [outputs, inputs],
  });
}

/** A vector of the same direction, of length 1; 0 stays as it is. */
export function unit(vector) {
  const length = Math.hypot(...vector) || 1;
  return vector.map((x) => x / length);
}
