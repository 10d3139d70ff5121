/**
 * Ids of logits.
 *
 * @module
 */

import { readOptions } from "../check/words.ts";
import { cannotOf, sampleNames, type SampleOptions } from "../operations/nn/options.ts";
import { chooseRows, draw, greatest, readLogits, readSampling } from "../operations/nn/sampling.ts";
import type { AnyTensor } from "../tensor/tensor.ts";

/**
 * The id of each row's greatest logit; of equals the first. A NaN counts as the greatest, so that it is seen.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { argmax } from "@flashtile/attention/nn";
 *
 * const logits = tensor(Float32Array.of(1, 5, 2, 9, 8, 7), [2, 3]);
 * console.log(await argmax(logits)); // Int32Array [1, 0]
 * ```
 *
 * @param logits `[..., ids]`, any storage and strides, in arrays.
 * @returns An id for each row.
 * @throws {TypeError} When `logits` is no tensor in an array.
 * @throws {RangeError} When there is no id, or shape and strides do not fit.
 */
export async function argmax(logits: AnyTensor): Promise<Int32Array<ArrayBuffer>> {
  return await Promise.resolve(argmaxSync(logits));
}

/**
 * As {@linkcode argmax}, and there when it returns.
 *
 * @param logits `[..., ids]`.
 * @returns An id for each row.
 * @throws As {@linkcode argmax} rejects.
 */
export function argmaxSync(logits: AnyTensor): Int32Array<ArrayBuffer> {
  return chooseRows(readLogits(logits, cannotOf("argmax")), greatest);
}

/**
 * Draws an id for each row by the softmax of `logits / temperature`. Of all ids those are kept which `topK` keeps; of these
 * the ones that are at least `minP` times as likely as the likeliest; and of these the least number, from the likeliest on,
 * that have `topP` of what is left together.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { sample } from "@flashtile/attention/nn";
 *
 * const logits = tensor(Float32Array.of(1, 5, 4.9, -2), [1, 4]);
 * const [id] = await sample(logits, { temperature: 0.8, topK: 2, seed: 1 });
 * console.log(id === 1 || id === 2); // true
 * ```
 *
 * @param logits `[..., ids]`, any storage and strides, in arrays; -Infinity is never drawn.
 * @param options See {@linkcode SampleOptions}.
 * @returns An id for each row.
 * @throws {TypeError} When `logits` is no tensor in an array, or an option is unknown.
 * @throws {RangeError} When there is no id, shape and strides do not fit, or an option is out of its range.
 */
export async function sample(
  logits: AnyTensor,
  options?: SampleOptions,
): Promise<Int32Array<ArrayBuffer>> {
  return await Promise.resolve(sampleSync(logits, options));
}

/**
 * As {@linkcode sample}, and there when it returns.
 *
 * @param logits `[..., ids]`.
 * @param options As those of {@linkcode sample}.
 * @returns An id for each row.
 * @throws As {@linkcode sample} rejects.
 */
export function sampleSync(
  logits: AnyTensor,
  options: SampleOptions = {},
): Int32Array<ArrayBuffer> {
  const doing = cannotOf("sample"), given = readOptions(options, sampleNames, doing);
  const sampling = readSampling(given, doing);
  return chooseRows(readLogits(logits, doing), (row) => draw(row, sampling));
}
