/**
 * Logits after every token of texts that are read in chunks.
 *
 * @module
 */

import type { Storage } from "./caches.ts";
import type { Llama } from "./model.ts";

/** How texts are read. */
export interface ReadOptions extends Storage {
  /** Tokens of each that are read at once; the last chunk may be shorter. */
  readonly chunk: number;
}

/**
 * Reads texts side by side, from the beginning.
 *
 * @param model The model.
 * @param texts The tokens of each.
 * @param options How they are read.
 * @returns The logits of the token that follows each, of each text `[tokens, vocab]`.
 */
export async function readInChunks(
  model: Llama,
  texts: readonly Uint8Array[],
  { chunk, ...storage }: ReadOptions,
): Promise<readonly Float32Array[]> {
  using caches = model.createCaches({ sequences: texts.length, ...storage });
  const { vocabSize } = model.config;
  const logits = texts.map(({ length }) => new Float32Array(length * vocabSize));
  const longest = Math.max(...texts.map(({ length }) => length));
  const step = Math.min(chunk, longest);
  for (let begin = 0; begin < longest; begin += step) {
    const parts = texts.map((tokens) => tokens.subarray(begin, begin + step));
    const read = await model.forward(parts, caches, "all");
    for (const [at, part] of read.entries()) {
      if (part.length > 0) logits[at].set(part, begin * vocabSize);
    }
  }
  return logits;
}
