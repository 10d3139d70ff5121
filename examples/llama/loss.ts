/**
 * How well a model predicts a text.
 *
 * @module
 */

import type { Llama } from "./model.ts";
import { readInChunks, type ReadOptions } from "./read.ts";

/**
 * The losses over the windows of a text, in nats. A window is as long as the context, and is read from
 * its beginning; the last tokens that fill none are left out.
 *
 * @param model The model.
 * @param text The text: one token more than its windows have, to be predicted by the last.
 * @param options How the windows are read, all side by side.
 * @returns The loss of every token but the first.
 */
export async function losses(
  model: Llama,
  text: Uint8Array,
  options: ReadOptions,
): Promise<Float64Array> {
  const { context, vocabSize } = model.config;
  const count = Math.floor((text.length - 1) / context);
  const windows = Array.from(
    { length: count },
    (_, at) => text.subarray(at * context, (at + 1) * context),
  );
  const logits = await readInChunks(model, windows, options);
  return Float64Array.from({ length: count * context }, (_, at) => {
    const row = (at % context) * vocabSize;
    const predicted = logits[Math.floor(at / context)].subarray(row, row + vocabSize);
    return loss(predicted, text[at + 1]);
  });
}

/** The mean of numbers. */
export function mean(numbers: Float64Array): number {
  return numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
}

/** Negative logarithm of a token's probability. */
function loss(logits: Float32Array, token: number): number {
  const greatest = logits.reduce((a, b) => Math.max(a, b));
  const denominator = logits.reduce((sum, logit) => sum + Math.exp(logit - greatest), 0);
  return Math.log(denominator) + greatest - logits[token];
}
