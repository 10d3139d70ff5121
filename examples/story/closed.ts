/**
 * What the algorithms read and write, as formulas: exactly, and as the papers state it.
 *
 * @module
 */

import { backwardTiles } from "./backward.ts";
import { blocksOf } from "./blocks.ts";
import { partsOf } from "./decoding.ts";
import type { Sizes } from "./problem.ts";

/** Numbers that go between the memories. */
export interface Traffic {
  readonly reads: number;
  readonly writes: number;
}

/** How often an algorithm goes through its inner loop: T. */
function passes({ n, d, m }: Sizes, tiles?: number): number {
  return Math.ceil(n / blocksOf(m, d, tiles).outer);
}

/** Standard attention with a softmax that visits each score so often. */
export function standardTraffic(sizes: Sizes, visits: number): Traffic {
  const { n, d } = sizes, t = passes(sizes);
  return { reads: n * d + 2 * t * n * d + (visits + 1) * n * n, writes: 2 * n * n + n * d };
}

/** Attention in tiles, twice over the keys. */
export function tiledTraffic(sizes: Sizes): Traffic {
  const { n, d } = sizes, t = passes(sizes);
  return { reads: n * d + 3 * t * n * d, writes: n * d };
}

/** FlashAttention. */
export function flash1Traffic(sizes: Sizes): Traffic {
  const { n, d } = sizes, t = passes(sizes);
  return { reads: 2 * n * d + 2 * t * n * (d + 1), writes: (t + 1) * n * (d + 2) };
}

/** FlashAttention-2. */
export function flash2Traffic(sizes: Sizes): Traffic {
  const { n, d } = sizes, t = passes(sizes);
  return { reads: n * d + 2 * t * n * d, writes: n * (d + 1) };
}

/** The way back with P remembered. */
export function standardBackwardTraffic(sizes: Sizes): Traffic {
  const { n, d } = sizes, t = passes(sizes);
  return {
    reads: 3 * n * d + 4 * t * n * d + 5 * n * n + n,
    writes: 2 * n * n + 3 * n * d + n,
  };
}

/** The way back with P made again. */
export function flashBackwardTraffic(sizes: Sizes): Traffic {
  const { n, d } = sizes, t = passes(sizes, backwardTiles);
  return { reads: 4 * n * d + t * n * (3 * d + 2), writes: 3 * n * d + n + t * n * d };
}

/** One query, its keys cut into parts. */
export function decodingTraffic({ n, d }: Sizes): Traffic {
  const parts = partsOf(n).length;
  return { reads: 2 * n * d + parts * (2 * d + 1), writes: parts * (d + 1) + d };
}

/** Standard attention to an order of magnitude (arXiv 2205.14135, theorem 2). */
export function standardOrder({ n, d }: Sizes): number {
  return n * d + n * n;
}

/** FlashAttention to an order of magnitude, for d <= M <= N d (the same theorem). */
export function flashOrder({ n, d, m }: Sizes): number {
  return n * n * d * d / m;
}
