/**
 * Patterns of whole blocks, seen from a query block's own key block.
 *
 * @module
 */

import { type BlockMask, blocksOf, BlockWriter } from "../block_mask.ts";
import type { Size } from "./size.ts";

/**
 * The key blocks that a query block sees, in any order, also twice. `own` is the key block in which
 * its first query stands, and may lie outside the mask.
 */
export type KeyBlocks = (own: number, h: number, queryBlock: number) => Iterable<number>;

/** The mask of these blocks, in every batch the same. */
export function fromKeyBlocks(size: Size, keyBlocksOf: KeyBlocks): BlockMask {
  const writer = new BlockWriter(size);
  const [queryBlocks] = blocksOf(size);
  for (let row = 0; row < size.batch * size.heads * queryBlocks; row++) {
    const queryBlock = row % queryBlocks, h = Math.floor(row / queryBlocks) % size.heads;
    const own = Math.floor((queryBlock * size.block[0] + size.offset) / size.block[1]);
    const columns = Uint32Array.from(new Set(keyBlocksOf(own, h, queryBlock))).sort();
    for (const column of columns) writer.add(column, true);
    writer.endRow();
  }
  return writer.finish();
}
