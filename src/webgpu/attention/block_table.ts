/**
 * The block table: a block mask as shaders read it, a word for each block of a region.
 *
 * @module
 */

import { arraysOf, BlockMask, fromRuns } from "../../masks/block_mask.ts";
import type { KeyRuns } from "../../masks/key_runs.ts";
import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Values } from "../shader/parameters.ts";
import { extent, type Range, type Region } from "../transfer/regions.ts";
import type { blockFields } from "./fields.ts";
import { queriesOf, queryHeadsOf } from "./spans.ts";

/** Keys of a block where a mask is of runs: those that a tile has. */
const runBlock = 32;

const masksOfRuns = new WeakMap<KeyRuns, BlockMask>();

/** A mask as blocks. */
function blocksIn(mask: BlockMask | KeyRuns): BlockMask {
  if (mask instanceof BlockMask) return mask;
  const known = masksOfRuns.get(mask);
  if (known !== undefined) return known;
  const { queries, keys, block: [rows] } = mask;
  const grid = { queries, keys, batch: 1, heads: 1, block: [rows, runBlock] as const };
  const made = fromRuns(grid, (_b, _h, query, add) => {
    for (const [from, to] of mask.runsOf(Math.floor(query / rows))) add(from, to);
  });
  masksOfRuns.set(mask, made);
  return made;
}

/** Blocks of a mask that a region can touch, and where their bits are. */
interface BlockPart {
  readonly batch: Range;
  readonly heads: Range;
  readonly queryBlocks: Range;
  /** Numbers of its mixed blocks. */
  readonly mixed: Range;
}

/** Rows of a mask's entries, in order. */
function* entryRows(mask: BlockMask, { batch, heads, queryBlocks }: Omit<BlockPart, "mixed">) {
  const { starts } = arraysOf(mask);
  for (let b = batch[0]; b < batch[1]; b++) {
    for (let h = heads[0]; h < heads[1]; h++) {
      for (let row = queryBlocks[0]; row < queryBlocks[1]; row++) {
        const at = (b * mask.heads + h) * mask.queryBlocks + row;
        yield [starts[at], starts[at + 1]] as const;
      }
    }
  }
}

function blockPartOf(plan: AttentionPlan, mask: BlockMask, region: Region): BlockPart {
  const [first, end] = queriesOf(plan, region), [height] = mask.block;
  const blocks: Omit<BlockPart, "mixed"> = {
    batch: mask.batch === 1 ? [0, 1] : region.batch,
    heads: mask.heads === 1 ? [0, 1] : queryHeadsOf(plan, region),
    queryBlocks: [Math.floor(first / height), Math.ceil(end / height)],
  };
  const { mixed } = arraysOf(mask);
  let low = Infinity, high = 0;
  for (const [from, to] of entryRows(mask, blocks)) {
    for (let entry = from; entry < to; entry++) {
      if (mixed[entry] < 0) continue;
      low = Math.min(low, mixed[entry]);
      high = Math.max(high, mixed[entry] + 1);
    }
  }
  return { ...blocks, mixed: [Math.min(low, high), high] };
}

/** Bytes of a mixed block's row, and of the block. */
function bytesOf({ block: [height, width] }: BlockMask): { row: number; block: number } {
  const row = Math.ceil(width / 8);
  return { row, block: height * row };
}

/** Words of a region's blocks: of their table, and of the bits of mixed ones. */
export function blockWords(
  plan: AttentionPlan,
  given: BlockMask | KeyRuns,
  region: Region,
): number {
  const mask = blocksIn(given), part = blockPartOf(plan, mask, region);
  const rows = extent(part.batch) * extent(part.heads) * extent(part.queryBlocks);
  const bits = Math.ceil(extent(part.mixed) * bytesOf(mask).block / 4);
  return rows * mask.keyBlocks + bits;
}

/** Writes the blocks of a region from word `at` on; gives what uniforms say of them. */
export function writeBlocks(
  plan: AttentionPlan,
  given: BlockMask | KeyRuns,
  region: Region,
  words: Uint32Array<ArrayBuffer>,
  at: number,
): Values<typeof blockFields> {
  const mask = blocksIn(given), part = blockPartOf(plan, mask, region);
  const bytes = bytesOf(mask), { columns, mixed, bits } = arraysOf(mask);
  let row = at;
  for (const [from, to] of entryRows(mask, part)) {
    for (let entry = from; entry < to; entry++) {
      const number = mixed[entry];
      words[row + columns[entry]] = number < 0 ? 1 : 2 + number - part.mixed[0];
    }
    row += mask.keyBlocks;
  }
  const [firstBit, lastBit] = part.mixed.map((number) => number * bytes.block);
  new Uint8Array(words.buffer).set(bits.subarray(firstBit, lastBit), row * 4);
  const perHead = extent(part.queryBlocks) * mask.keyBlocks;
  const perBatch = mask.batch === 1 ? 0 : extent(part.heads) * perHead;
  return {
    block: { at, strides: [perBatch, mask.heads === 1 ? 0 : perHead, mask.keyBlocks, 1] },
    block_queries: mask.block[0],
    block_keys: mask.block[1],
    first_block: part.queryBlocks[0],
    block_bits_at: row,
    block_row_bytes: bytes.row,
    block_bytes: bytes.block,
  };
}
