/**
 * Windows of a text: what a model reads, and what it is to predict.
 *
 * @module
 */

import type { Random } from "../llama/random.ts";

/** Windows of a text, one after the other. */
export interface Windows {
  /** The tokens that are read. */
  readonly tokens: Uint8Array;
  /** The token that follows each. */
  readonly targets: Uint8Array;
}

/**
 * Draws windows from anywhere in a text.
 *
 * @param text The text, longer than a window.
 * @param count How many windows.
 * @param length Tokens of a window.
 * @param random Says where they begin.
 */
export function drawWindows(
  text: Uint8Array,
  count: number,
  length: number,
  random: Random,
): Windows {
  const tokens = new Uint8Array(count * length), targets = new Uint8Array(count * length);
  for (let at = 0; at < tokens.length; at += length) {
    const begin = Math.floor(random() * (text.length - length));
    tokens.set(text.subarray(begin, begin + length), at);
    targets.set(text.subarray(begin + 1, begin + 1 + length), at);
  }
  return { tokens, targets };
}
