/**
 * The pattern of Longformer.
 *
 * @module
 */

import { type BlockMask, fromRuns } from "../block_mask.ts";
import { dilated } from "./bands.ts";
import {
  type BlockMaskSize,
  checkNumbers,
  checkObject,
  checkSize,
  checkWhole,
  runsOf,
} from "./size.ts";

/** A sliding window and some tokens that see everything. */
export interface LongformerPattern {
  /**
   * Tokens of the window: `floor(window / 2)` on each side, and the query's own. So an odd number
   * is what a query sees, and an even one is as the next odd number.
   */
  readonly window: number;
  /** Distance from one token of the window to the next; 1 by default. */
  readonly dilation?: number;
  /** Positions of the tokens that see every key and that every query sees; none by default. */
  readonly global?: ArrayLike<number>;
}

/**
 * Longformer (arXiv 2004.05150, section 3.1): a sliding window around each query, dilated or not,
 * and global tokens. Position `p` is key `p`, and the query that stands on it. Sees both ways; for
 * a decoder, `.and(blockMask.causal(size))`.
 *
 * @param pattern Window and global tokens.
 * @param size Extents and blocks.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function longformer(pattern: LongformerPattern, size: BlockMaskSize): BlockMask {
  checkObject("pattern", pattern, ["window", "dilation", "global"]);
  const { window, dilation = 1, global = [] } = pattern;
  checkWhole("window", window, 1);
  checkWhole("dilation", dilation, 1);
  const checked = checkSize(size);
  const positions = new Set(checkNumbers("global", global));
  for (const position of positions) checkWhole("global", position, 0, checked.keys - 1);
  const side = Math.floor(window / 2) * dilation;
  const local = dilated({ window: [side, side], dilation }, checked);
  if (positions.size === 0) return local;
  const runs = runsOf([...positions].sort((a, b) => a - b));
  return local.or(fromRuns(checked, (_b, _h, query, add) => {
    if (positions.has(query + checked.offset)) add(0, checked.keys);
    else for (const [from, to] of runs) add(from, to);
  }));
}
