/**
 * How well a model predicts a text.
 *
 * @module
 */

import type { Llama } from "./model.ts";
import { readInChunks, type ReadOptions } from "./read.ts";

/**
 * Mean loss over the windows of a text, in nats per token. A window is as long as the context, and is
 * read from its beginning; the last tokens that fill none are left out.
 *
 * @param model The model.
 * @param text The text: one token more than its windows have, to be predicted by the last.
 * @param options How the windows are read, all side by side.
 */
export async function meanLoss(
  model: Llama,
  text: Uint8Array,
  options: ReadOptions,
): Promise<number> {
  const { context, vocabSize } = model.config;
  const count = Math.floor((text.length - 1) / context);
  const windows = Array.from(
    { length: count },
    (_, at) => text.subarray(at * context, (at + 1) * context),
  );
  const logits = await readInChunks(model, windows, options);
  let sum = 0;
  for (let at = 0; at < count * context; at++) {
    const [window, row] = [Math.floor(at / context), at % context];
    sum += loss(logits[window].subarray(row * vocabSize, (row + 1) * vocabSize), text[at + 1]);
  }
  return sum / (count * context);
}

/** Negative logarithm of a token's probability. */
function loss(logits: Float32Array, token: number): number {
  const greatest = logits.reduce((a, b) => Math.max(a, b));
  const denominator = logits.reduce((sum, logit) => sum + Math.exp(logit - greatest), 0);
  return Math.log(denominator) + greatest - logits[token];
}
