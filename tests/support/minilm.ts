/**
 * all-MiniLM-L6-v2 beside the checkout, and texts with the embeddings that another implementation computed in
 * float64 from the same weights.
 *
 * @module
 */

import { sharedJson } from "./shared.ts";

/** Its folder beside the checkout, for `withShared()`. */
export const minilmFolder = "real/minilm";

/** A text with its embedding. */
export interface ReferenceText {
  readonly text: string;
  /** Its tokens. */
  readonly ids: readonly number[];
  /** Of length 1. */
  readonly embedding: readonly number[];
}

/** Some of the 64 texts, in ten languages: the shortest ones. */
export function referenceTexts(count: number): ReferenceText[] {
  const { texts } = sharedJson(`${minilmFolder}/embeddings.json`) as { texts: ReferenceText[] };
  return texts.sort((a, b) => a.ids.length - b.ids.length).slice(0, count);
}
