/**
 * Texts as models take them: ids, or texts that a tokenizer cuts.
 *
 * @module
 */

import { openList } from "../check/tensors.ts";
import { isWhole, kindOf, readNumbers } from "../check/words.ts";
import type { NumberList } from "../tensor/tensor.ts";
import type { TokenizerLike } from "./tokens/tokenizer.ts";

/** A text, or the ids of its tokens. */
export type Text = string | NumberList;

/** Reads ids: whole, below `vocabulary`, at least one. */
export function readIds(given: unknown, vocabulary: number, name: string, doing: string): number[] {
  const list = given === null ? undefined : openList(name, given, doing);
  if (list === undefined) {
    throw new TypeError(
      `${doing}: \`${name}\` must be a text or a list of ids, got ${kindOf(given)}`,
    );
  }
  if (list.length === 0) throw new RangeError(`${doing}: \`${name}\` has no tokens`);
  const isId = (id: unknown) =>
    isWhole(Number(id)) && Number(id) >= 0 && Number(id) < vocabulary &&
    typeof id !== "string";
  const { numbers, wrong } = readNumbers(list, isId);
  if (wrong === undefined) return numbers.map(Number);
  throw new RangeError(
    `${doing}: \`${name}\` must be whole numbers from 0 to ${vocabulary - 1}, got ${
      kindOf(wrong.value)
    }`,
  );
}

/** Ids of a text by a tokenizer of whatever kind. */
export function encode(
  text: string,
  tokenizer: TokenizerLike | undefined,
  name: string,
  doing: string,
): ArrayLike<number> {
  if (tokenizer === undefined) {
    throw new TypeError(
      `${doing}: \`${name}\` is a text, which needs a \`tokenizer\` when the model is loaded; ids need none`,
    );
  }
  const encoded = tokenizer.encode(text);
  return "ids" in encoded ? encoded.ids : encoded;
}

/** Checks that there are not more tokens than a model takes. */
export function checkLength(count: number, most: number, name: string, doing: string): void {
  if (count <= most) return;
  throw new RangeError(`${doing}: \`${name}\` has ${count} tokens, at most ${most} are possible`);
}
