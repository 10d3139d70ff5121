/**
 * Where FlashAttention begins to move less than standard attention.
 *
 * @module
 */

import { algorithmOf } from "./chapters.ts";
import type { Traffic } from "./closed.ts";
import type { Sizes } from "./problem.ts";

/** All that goes between the memories. */
export function totalOf({ reads, writes }: Traffic): number {
  return reads + writes;
}

/** The least M at which FlashAttention moves less; none where that is never so. */
export function crossoverOf({ n, d }: Sizes): number | undefined {
  const standard = algorithmOf("naive"), flash = algorithmOf("flash1");
  // Traffic changes where a tile gets one more row, which are d numbers of each of four tiles.
  for (let rows = 1; rows <= n; rows++) {
    const sizes = { n, d, m: 4 * d * rows };
    if (totalOf(flash.traffic(sizes)) < totalOf(standard.traffic(sizes))) return sizes.m;
  }
  return undefined;
}
