/**
 * Slopes of ALiBi.
 *
 * @module
 */

import { isWhole, kindOf } from "../../check/words.ts";
import { type Tensor, tensor } from "../../tensor/tensor.ts";

/**
 * The slopes that ALiBi gives to heads (arXiv 2108.12409, section 3), for the option `alibi` of
 * `attention()`: with `n` heads, a power of two, `2^(-8 i / n)` for `i = 1..n`. Other numbers take
 * those of the power of two below, then the first, third, fifth and so on of twice that power, as
 * in the authors' code.
 *
 * ```ts
 * import { alibiSlopes } from "@flashtile/attention";
 *
 * console.log(alibiSlopes(8).data); // [1/2, 1/4, 1/8, ..., 1/256]
 * ```
 *
 * @param heads Query heads, Hq.
 * @returns Slopes, `[heads]`.
 * @throws {TypeError} When `heads` is no number.
 * @throws {RangeError} When it is not whole, or below 1.
 */
export function alibiSlopes(heads: number): Tensor<Float32Array<ArrayBuffer>> {
  if (!isWhole(heads) || heads < 1) {
    const Kind = typeof heads === "number" ? RangeError : TypeError;
    throw new Kind(
      `Cannot make ALiBi slopes: \`heads\` must be a whole number >= 1, got ${kindOf(heads)}`,
    );
  }
  const power = 2 ** Math.floor(Math.log2(heads));
  const slopes = Float32Array.from(
    { length: heads },
    (_, h) => 2 ** (h < power ? -8 * (h + 1) / power : -4 * (2 * (h - power) + 1) / power),
  );
  return tensor(slopes, [heads]);
}
