/**
 * How well a model predicts a text.
 *
 * @module
 */

import type { Decoder } from "@flashtile/attention/models";
import { readAtOnce } from "./logits.ts";

/** A part of a text that is read from its beginning. */
export interface Window {
  readonly tokens: Uint8Array;
  /** The token that follows each: what is to be predicted. */
  readonly next: Uint8Array;
}

/**
 * The windows of a text, each as long as a context. The last tokens that fill none are left out.
 *
 * @param text The text: one token more than its windows have, to be predicted by the last.
 * @param context Tokens of a window.
 */
export function windowsOf(text: Uint8Array, context: number): Window[] {
  return Array.from({ length: Math.floor((text.length - 1) / context) }, (_, at) => ({
    tokens: text.subarray(at * context, (at + 1) * context),
    next: text.subarray(at * context + 1, (at + 1) * context + 1),
  }));
}

/**
 * The loss of each token in nats: the negative logarithm of its probability.
 *
 * @param logits Logits before each, `[tokens, vocabulary]`.
 * @param next The tokens.
 */
export function lossOf(logits: Float32Array, next: Uint8Array): Float64Array {
  const vocabulary = logits.length / next.length;
  return Float64Array.from(next, (token, at) => {
    const row = logits.subarray(at * vocabulary, (at + 1) * vocabulary);
    const greatest = row.reduce((a, b) => Math.max(a, b));
    const denominator = row.reduce((sum, logit) => sum + Math.exp(logit - greatest), 0);
    return Math.log(denominator) + greatest - row[token];
  });
}

/** The mean of numbers. */
export function mean(numbers: Float64Array): number {
  return numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
}

/**
 * The losses over the windows of a text, each read at once.
 *
 * @param decoder The model.
 * @param text The text.
 * @returns The loss of every token but the first.
 */
export async function losses(decoder: Decoder, text: Uint8Array): Promise<Float64Array> {
  const windows = windowsOf(text, decoder.maxTokens);
  const logits = await readAtOnce(decoder, windows.map(({ tokens }) => tokens));
  return Float64Array.from(windows.flatMap(({ next }, at) => [...lossOf(logits[at], next)]));
}
