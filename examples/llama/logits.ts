/**
 * Logits after every token of texts: the same numbers in two ways, since one query at a time takes
 * another path through the kernels than many do.
 *
 * @module
 */

import type { Decoder, SessionOptions } from "@flashtile/attention/models";

/** Logits after every token of each text, `[tokens, vocabulary]`. */
export type Logits = readonly Float32Array[];

/**
 * Reads texts one by one, each at once.
 *
 * @param decoder The model.
 * @param texts The tokens of each.
 */
export async function readAtOnce(decoder: Decoder, texts: readonly Uint8Array[]): Promise<Logits> {
  const logits: Float32Array[] = [];
  for (const text of texts) logits.push((await decoder.logits(text)).data);
  return logits;
}

/**
 * Reads texts side by side, token by token.
 *
 * @param decoder The model.
 * @param texts The tokens of each, as many as they are.
 * @param dtype How their keys and values are stored.
 */
export async function readByTokens(
  decoder: Decoder,
  texts: readonly Uint8Array[],
  dtype?: SessionOptions["dtype"],
): Promise<Logits> {
  using session = decoder.session({ batch: texts.length, dtype });
  const { vocabulary } = decoder, longest = Math.max(...texts.map(({ length }) => length));
  const logits = texts.map(({ length }) => new Float32Array(length * vocabulary));
  for (let at = 0; at < longest; at++) {
    const { data } = await session.step(texts.map((text) => text[at] ?? null));
    for (const [sequence, text] of texts.entries()) {
      if (at >= text.length) continue;
      const row = data.subarray(sequence * vocabulary, (sequence + 1) * vocabulary);
      logits[sequence].set(row, at * vocabulary);
    }
  }
  return logits;
}
