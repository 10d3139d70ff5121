/**
 * Numbers of 16 bits widened to 32. Written out because `Float16Array` is missing in Node 20.
 *
 * @module
 */

const bits = new Uint32Array(1);
const single = new Float32Array(bits.buffer);

/** Half and single exponents are biased by 15 and by 127. */
const REBIAS = 2 ** (127 - 15);

/**
 * Widens an IEEE half: 1 sign bit, 5 exponent bits, 10 fraction bits. Exact.
 *
 * Moved 13 places up, exponent and fraction are those of a single that is too small by `REBIAS`.
 * The product is exact for subnormal halves too, because it is formed in double precision.
 *
 * @param half The 16 bits as a whole number.
 */
export function fromFloat16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  if ((half & 0x7c00) === 0x7c00) return half & 0x03ff ? NaN : sign * Infinity;
  bits[0] = (half & 0x7fff) << 13;
  return sign * single[0] * REBIAS;
}

/**
 * Widens a bfloat16, which is the upper half of a single. Exact.
 *
 * @param upper The 16 bits as a whole number.
 */
export function fromBfloat16(upper: number): number {
  bits[0] = upper << 16;
  return single[0];
}
