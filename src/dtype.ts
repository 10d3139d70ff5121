/**
 * Element types: how numbers are stored. Whatever the storage, products, sums, maxima and exponents
 * are computed in f32.
 *
 * @module
 */

/** How an element is stored: IEEE single, IEEE half, or the upper half of a single. */
export type DType = "f32" | "f16" | "bf16";

/** Every element type, and what a message calls it. */
export const dtypes: readonly DType[] = ["f32", "f16", "bf16"];

/** Element types that the backends execute today; the others are refused by name. */
export const executedDtypes: ReadonlySet<DType> = new Set<DType>(["f32"]);

/** Bytes of one element. */
export function bytesPerElement(dtype: DType): number {
  return dtype === "f32" ? 4 : 2;
}
