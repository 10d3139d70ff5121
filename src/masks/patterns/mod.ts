/**
 * Patterns of block masks: `blockMask` of the library, which this subpath gives by itself, so that every
 * bundler leaves out what is not used. All are made without a look at every element where the pattern is known;
 * `.and()`, `.or()` and `.not()` combine them.
 *
 * ```ts
 * import { blockMask } from "@flashtile/attention";
 *
 * const size = { queries: 512, block: 64 };
 * const mask = blockMask.longformer({ window: 257, global: [0] }, size)
 *   .and(blockMask.causal(size));
 * console.log(String(mask));
 * // BlockMask [1, 1, 512, 512], blocks of 64 x 64, density 0.222
 * // +.......
 * // #+......
 * // +#+.....
 * // ++#+....
 * // +.+#+...
 * // +..+#+..
 * // +...+#+.
 * // +....+#+
 * ```
 *
 * @module
 */

export { fromPlain } from "../block_mask.ts";
export {
  causal,
  dilated,
  type DilatedPattern,
  longformer,
  type LongformerPattern,
  prefix,
  type Window,
  window,
} from "./bands.ts";
export { bigbird, type BigBirdPattern, butterfly, fromIndices } from "./blocks.ts";
export { fromDense, fromFunction, type Keeps } from "./dense.ts";
export { document, type DocumentIds } from "./document.ts";
export type { BlockMaskSize } from "./size.ts";
