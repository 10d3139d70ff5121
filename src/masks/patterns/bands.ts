/**
 * Patterns along the diagonal: causal, causal with a prefix, sliding windows, and Longformer's, which are
 * windows with tokens that see everything.
 *
 * @module
 */

import { isWhole, kindOf, readShort } from "../../check/words.ts";
import { around } from "../../check/window.ts";
import type { NumberList } from "../../tensor/tensor.ts";
import { type BlockMask, fromRuns } from "../block_mask.ts";
import { cannot, checkWhole } from "../blocks.ts";
import { type BlockMaskSize, checkNumbers, checkSize, readObject, runsOf } from "./size.ts";

/**
 * Query `i` sees the keys `j <= i + offset`.
 *
 * @param size Extents and blocks; a number is so many queries and keys.
 * @throws {TypeError} When `size` is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function causal(size: BlockMaskSize | number): BlockMask {
  return prefix(0, size);
}

/**
 * A prefix language model: every query sees the first `length` keys, and those that `causal` keeps.
 *
 * @param length Keys that every query sees; more than there are means all.
 * @param size Extents and blocks; a number is so many queries and keys.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function prefix(length: number, size: BlockMaskSize | number): BlockMask {
  checkWhole("length", length);
  const checked = checkSize(size);
  return fromRuns(checked, (_b, _h, query, add) => {
    add(0, Math.max(length, query + checked.offset + 1));
  });
}

/**
 * `[left, right]`: keys to the left and to the right; `null` and `Infinity` are open. Or a number `W` of
 * at least 1: so many keys, the query's own among them, `floor(W / 2)` on each side. So an odd number
 * is what a query sees, and an even one is as the next odd number.
 */
export type Window = number | readonly (number | null)[];

/** A window with gaps. */
export interface DilatedPattern {
  /** How far the window reaches, in keys; a number counts those that are seen, over their gaps. */
  readonly window: Window;
  /** Only keys at a distance that is a multiple of this are seen; 1 = all. */
  readonly dilation: number;
}

/**
 * Query `i` sees the keys `i + offset - left <= j <= i + offset + right`, as with the option
 * `window` of `attention()`.
 *
 * @param window `[left, right]`, whole numbers of at least 0; `null` and `Infinity` are open. Or how many
 * keys a query sees, its own among them.
 * @param size Extents and blocks; a number is so many queries and keys.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function window(window: Window, size: BlockMaskSize | number): BlockMask {
  return dilated({ window, dilation: 1 }, size);
}

/**
 * As `window`, but only keys at a distance from `i + offset` that is a multiple of `dilation`.
 *
 * @param pattern The window and its gaps.
 * @param size Extents and blocks; a number is so many queries and keys.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function dilated(pattern: DilatedPattern, size: BlockMaskSize | number): BlockMask {
  const { window: given, dilation } = readObject("pattern", pattern, ["window", "dilation"]);
  const sides = typeof given === "number" ? around(given, cannot) : readWindow(given);
  checkWhole("dilation", dilation, 1);
  const checked = checkSize(size), gaps = typeof given === "number" ? dilation : 1;
  const [left, right] = sides.map((side) => (side ?? Infinity) * gaps);
  return fromRuns(checked, (_b, _h, query, add) => {
    const position = query + checked.offset;
    const first = Math.max(0, position - left), end = Math.min(checked.keys, position + right + 1);
    if (dilation === 1) return add(first, end);
    // The first key of the window at a whole number of steps before or after the position.
    const gap = (position - first) % dilation;
    for (let key = first + (gap < 0 ? gap + dilation : gap); key < end; key += dilation) {
      add(key, key + 1);
    }
  });
}

function readWindow(given: unknown): readonly (number | null)[] {
  const window = readShort(given);
  const isSide = (side: unknown) => side === null || typeof side === "number";
  const expected =
    `${cannot}: \`window\` must be [left, right] of whole numbers >= 0 or null, or how many keys`;
  if (window?.length !== 2 || !window.every(isSide)) {
    const got = window === undefined ? kindOf(given) : `[${window.map(kindOf)}]`;
    throw new TypeError(`${expected}, got ${got}`);
  }
  if (window.every((side) => side === null || side === Infinity || (isWhole(side) && side >= 0))) {
    return window as (number | null)[];
  }
  throw new RangeError(`${expected}, got [${window.map(kindOf)}]`);
}

/** A sliding window and some tokens that see everything. */
export interface LongformerPattern {
  /** Keys that a query sees of those around it, its own among them: `floor(window / 2)` on each side. */
  readonly window: number;
  /** Distance from one token of the window to the next; 1 by default. */
  readonly dilation?: number | undefined;
  /** Positions of the tokens that see every key and that every query sees; none by default. */
  readonly global?: NumberList | undefined;
}

/**
 * Longformer (arXiv 2004.05150, section 3.1): a sliding window around each query, dilated or not,
 * and global tokens. Position `p` is key `p`, and the query that stands on it. Sees both ways; for
 * a decoder, `.and(blockMask.causal(size))`.
 *
 * @param pattern Window and global tokens.
 * @param size Extents and blocks; a number is so many queries and keys.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function longformer(pattern: LongformerPattern, size: BlockMaskSize | number): BlockMask {
  const names = ["window", "dilation", "global"] as const;
  const { window, dilation = 1, global = [] } = readObject("pattern", pattern, names);
  checkWhole("window", window, 1);
  checkWhole("dilation", dilation, 1);
  const checked = checkSize(size);
  const positions = new Set(checkNumbers("global", global));
  for (const position of positions) checkWhole("global", position, 0, checked.keys - 1);
  const local = dilated({ window, dilation }, checked);
  if (positions.size === 0) return local;
  const runs = runsOf([...positions].sort((a, b) => a - b));
  return local.or(fromRuns(checked, (_b, _h, query, add) => {
    if (positions.has(query + checked.offset)) add(0, checked.keys);
    else for (const [from, to] of runs) add(from, to);
  }));
}
