/**
 * Logits after every token of texts that are read in chunks.
 *
 * @module
 */

import type { StoredAs } from "./caches.ts";
import type { Llama } from "./model.ts";

/** How texts are read. */
export interface ReadOptions extends StoredAs {
  /** Tokens of each that are read at once; the last chunk may be shorter. */
  readonly chunk: number;
  /** Tokens of the first chunk, a prompt; as of the others by default. */
  readonly prompt?: number;
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
  { chunk, prompt = chunk, ...storage }: ReadOptions,
): Promise<readonly Float32Array[]> {
  using caches = model.createCaches({ sequences: texts.length, ...storage });
  const { vocabSize } = model.config;
  const logits = texts.map(({ length }) => new Float32Array(length * vocabSize));
  const longest = Math.max(...texts.map(({ length }) => length));
  for (let begin = 0, end; begin < longest; begin = end) {
    end = begin + (begin === 0 ? prompt : chunk);
    const parts = texts.map((tokens) => tokens.subarray(begin, end));
    const read = await model.forward(parts, caches, "all");
    for (const [at, part] of read.entries()) {
      if (part.length > 0) logits[at].set(part, begin * vocabSize);
    }
  }
  return logits;
}
