/**
 * The butterfly pattern.
 *
 * @module
 */

import { type BlockMask, blocksOf } from "../block_mask.ts";
import { fromKeyBlocks } from "./own_block.ts";
import { type BlockMaskSize, checkSize } from "./size.ts";

/**
 * The fixed butterfly pattern of block-sparse FlashAttention (arXiv 2205.14135, section 3.3;
 * Pixelated Butterfly, arXiv 2112.00029): a query block sees its own key block `i`, in which its
 * first query stands, and the key blocks `i XOR 2^s` for every `s`. Those past the last one are
 * left out where their number is no power of two, and a query block that stands on no key block
 * sees none. Sees both ways; for a decoder, `.and(blockMask.causal(size))`.
 *
 * @param size Extents and blocks.
 * @throws {TypeError} When `size` is of a wrong kind.
 * @throws {RangeError} When a number is out of range, or the blocks are too many.
 */
export function butterfly(size: BlockMaskSize): BlockMask {
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
