/**
 * Masks that look back: causal, and causal with a prefix.
 *
 * @module
 */

import { type BlockMask, fromRuns } from "../block_mask.ts";
import { type BlockMaskSize, checkSize, checkWhole } from "./size.ts";

/**
 * Query `i` sees the keys `j <= i + offset`.
 *
 * @param size Extents and blocks.
 * @throws {TypeError} When `size` is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function causal(size: BlockMaskSize): BlockMask {
  return prefix(0, size);
}

/**
 * A prefix language model: every query sees the first `length` keys, and those that `causal` keeps.
 *
 * @param length Keys that every query sees; more than there are means all.
 * @param size Extents and blocks.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function prefix(length: number, size: BlockMaskSize): BlockMask {
  checkWhole("length", length);
  const checked = checkSize(size);
  return fromRuns(checked, (_b, _h, query, add) => {
    add(0, Math.max(length, query + checked.offset + 1));
  });
}
