/**
 * Patterns of whole blocks: the butterfly and BigBird's, seen from a query block's own key block, and those that
 * are listed.
 *
 * @module
 */

import { openList } from "../../check/tensors.ts";
import { isWhole, kindOf, mostHeads, readNumbers } from "../../check/words.ts";
import type { NumberList } from "../../tensor/tensor.ts";
import { type BlockMask, make } from "../block_mask.ts";
import { blocksOf, cannot, checkWhole } from "../blocks.ts";
import { BlockWriter } from "../writer.ts";
import { type BlockMaskSize, checkSize, namedSize, readObject, type Size } from "./size.ts";

/**
 * The key blocks that a query block sees, in any order, also twice. `own` is the key block in which
 * its first query stands, and may lie outside the mask.
 */
type KeyBlocks = (own: number, h: number, queryBlock: number) => Iterable<number>;

/** The mask of these blocks, in every batch the same. */
function fromKeyBlocks(size: Size, keyBlocksOf: KeyBlocks): BlockMask {
  const writer = new BlockWriter(size);
  const [queryBlocks] = blocksOf(size);
  for (let row = 0; row < size.batch * size.heads * queryBlocks; row++) {
    const queryBlock = row % queryBlocks, h = Math.floor(row / queryBlocks) % size.heads;
    const own = Math.floor((queryBlock * size.block[0] + size.offset) / size.block[1]);
    addRow(writer, keyBlocksOf(own, h, queryBlock));
  }
  return make(writer.finish());
}

/** Adds a row of these blocks. */
function addRow(writer: BlockWriter, keyBlocks: Iterable<number>): void {
  for (const column of Uint32Array.from(new Set(keyBlocks)).sort()) writer.add(column, true);
  writer.endRow();
}

/**
 * Which key blocks each query block sees, as they were chosen: by the scores of compressed keys (NSA, arXiv
 * 2502.11089, section 3.3.2), by an indexer's (DSA of DeepSeek-V3.2), or by any other top-k. For a decoder,
 * `.and(blockMask.causal(size))`.
 *
 * ```ts
 * import { attention, blockMask, tensor } from "@flashtile/attention";
 *
 * const size = { queries: 128, block: 32 };
 * const chosen = tensor([[0, -1], [0, 1], [2, 0], [3, 1]]); // key blocks of each query block
 * const mask = blockMask.fromIndices(chosen, size).and(blockMask.causal(size));
 * const x = tensor(new Float32Array(2 * 128 * 16), [2, 128, 16]);
 * const { out } = await attention(x, x, x, { blockMask: mask });
 * console.log(out.shape, mask.visited); // [2, 128, 16] 0.4375
 * ```
 *
 * @param indices Key blocks, in any order, also twice; -1 is none. `[queryBlocks, n]`, shared by all;
 * `[heads, queryBlocks, n]`, or `[batch, heads, queryBlocks, n]`.
 * @param size Extents and blocks; a number is so many queries and keys. Batches and heads are those of `indices`.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function fromIndices(
  indices: NumberList,
  size: Pick<BlockMaskSize, "queries" | "keys" | "block"> | number,
): BlockMask {
  const checked = checkSize(size, ["batch", "heads", "offset"]);
  const [queryBlocks, keyBlocks] = blocksOf(checked),
    list = openList("indices", indices, cannot, true);
  const shape = list?.shape ?? [], [batch, heads, rows, count] = [1, 1, 1, ...shape].slice(-4);
  if (list === undefined || shape.length < 2 || shape.length > 4 || rows !== queryBlocks) {
    const Kind = list === undefined ? TypeError : RangeError;
    throw new Kind(
      `${cannot}: \`indices\` must have shape [${queryBlocks}, n], with heads or batches and heads before, ` +
        `got ${list === undefined ? kindOf(indices) : `[${shape}]`}`,
    );
  }
  if (batch * heads < 1 || batch * heads > mostHeads) {
    throw new RangeError(
      `${cannot}: \`indices\` must have 1 to ${mostHeads} batches times heads, got [${shape}]`,
    );
  }
  const { numbers, wrong } = readNumbers(
    list,
    (one) => isWhole(one) && one >= -1 && one < keyBlocks,
  );
  if (wrong !== undefined) {
    throw new RangeError(
      `${cannot}: \`indices\` must be key blocks from 0 to before ${keyBlocks}, or -1 for none, got ${
        kindOf(wrong.value)
      } at index ${numbers.length}`,
    );
  }
  const writer = new BlockWriter({ ...checked, batch, heads });
  for (let from = 0, row = 0; row < batch * heads * queryBlocks; row++, from += count) {
    addRow(writer, numbers.slice(from, from + count).filter((one) => one >= 0));
  }
  return make(writer.finish());
}

/**
 * The fixed butterfly pattern of block-sparse FlashAttention (arXiv 2205.14135, section 3.3;
 * Pixelated Butterfly, arXiv 2112.00029): a query block sees its own key block `i`, in which its
 * first query stands, and the key blocks `i XOR 2^s` for every `s`. Those past the last one are
 * left out where their number is no power of two, and a query block that stands on no key block
 * sees none. Sees both ways; for a decoder, `.and(blockMask.causal(size))`.
 *
 * @param size Extents and blocks; a number is so many queries and keys.
 * @throws {TypeError} When `size` is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function butterfly(size: BlockMaskSize | number): BlockMask {
  const checked = checkSize(size);
  const [, keyBlocks] = blocksOf(checked);
  return fromKeyBlocks(checked, (own) => {
    if (own < 0 || own >= keyBlocks) return [];
    const seen = [own];
    for (let bit = 1; bit < keyBlocks; bit *= 2) {
      if ((own ^ bit) < keyBlocks) seen.push(own ^ bit);
    }
    return seen;
  });
}

/** What a query block sees, counted in blocks of the mask. */
export interface BigBirdPattern {
  /** Block size, instead of that of the size. */
  readonly block?: BlockMaskSize["block"] | undefined;
  /**
   * Blocks of the window: `floor(windowBlocks / 2)` on each side, and the query block's own. An even
   * number is as the next odd one.
   */
  readonly windowBlocks: number;
  /** The first so many blocks see every key block, and every query block sees them. */
  readonly global: number;
  /**
   * Blocks drawn at random for each query block, in addition to those of the window and the global ones.
   */
  readonly random: number;
  /** Where the draws begin, from 0 to 2^32 - 1; 0 by default. The same seed gives the same mask. */
  readonly seed?: number | undefined;
}

/**
 * BigBird (arXiv 2007.14062, section 2 and appendix D): of whole blocks a sliding window, global
 * ones and random ones, other random ones for every head and the same for every batch. A query
 * block's own key block is the one in which its first query stands. Sees both ways; for a decoder,
 * `.and(blockMask.causal(size))`.
 *
 * @param pattern Window, global and random blocks; of random ones there may be fewer left.
 * @param size Extents and blocks; a number is so many queries and keys.
 * @throws {TypeError} When an argument is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function bigbird(pattern: BigBirdPattern, size: BlockMaskSize | number): BlockMask {
  const names = ["block", "windowBlocks", "global", "random", "seed"] as const;
  const { block, windowBlocks, global, random, seed = 0 } = readObject("pattern", pattern, names);
  checkWhole("windowBlocks", windowBlocks, 1);
  checkWhole("global", global);
  checkWhole("random", random);
  checkWhole("seed", seed, 0, 2 ** 32 - 1);
  const checked = checkSize(block === undefined ? size : { ...namedSize(size), block });
  const [, keyBlocks] = blocksOf(checked);
  const first = Math.min(global, keyBlocks), side = Math.floor(windowBlocks / 2);
  return fromKeyBlocks(checked, (own, h, queryBlock) => {
    if (own >= 0 && own < first) return range(0, keyBlocks);
    // The window past the global blocks, and what is left besides both.
    const from = Math.min(keyBlocks, Math.max(first, own - side));
    const to = Math.max(from, Math.min(keyBlocks, own + side + 1));
    const rest = keyBlocks - first - (to - from);
    const drawn = draw(random, rest, seeded(seed, h, queryBlock))
      .map((index) => first + index < from ? first + index : index + first + to - from);
    return [...range(0, first), ...range(from, to), ...drawn];
  });
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

/** `count` numbers below `total`, none twice: Floyd's method, CACM 30 (1987), page 754. */
function draw(count: number, total: number, random: () => number): number[] {
  const drawn = new Set<number>();
  for (let last = Math.max(0, total - count); last < total; last++) {
    const number = Math.floor(random() * (last + 1));
    drawn.add(drawn.has(number) ? last : number);
  }
  return [...drawn];
}

/** Numbers of `[0, 1)`, other ones for other seeds: Mulberry32, whose state takes in each seed. */
function seeded(...seeds: number[]): () => number {
  let state = 0;
  const next = () => {
    state = state + 0x6d2b79f5 | 0;
    let t = Math.imul(state ^ state >>> 15, state | 1);
    t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return (t ^ t >>> 14) >>> 0;
  };
  for (const seed of seeds) state = next() ^ seed;
  return () => next() / 2 ** 32;
}
