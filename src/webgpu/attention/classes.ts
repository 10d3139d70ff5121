/**
 * Classes: which squares of scores a mask or a bias hides, and of which it hides nothing. A dispatch of
 * its own finds them before those that attend: they skip the ones and take the others whole.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { Placed } from "../shader/parameters.ts";
import { extent, type Region } from "../transfer/regions.ts";
import { batchesOf, keysIn, queriesOf, queryHeadsOf } from "./spans.ts";
import { splitRows } from "./splits.ts";
import type { KeyRange } from "./key_ranges.ts";

/** Queries and keys of a square. */
export const classExtent = 16;

/** Threads of the shader: each looks at a square. */
export const classThreads = 64;

/** What is looked at. A bias of each head by itself is read once in any case. */
export interface Classed {
  readonly bias: boolean;
  readonly mask: boolean;
}

/** What a plan has that is worth a look: with few rows, it is read but once or twice anyway. */
export function classedOf({ bias, mask, queries, group }: AttentionPlan): Classed | null {
  const classed = { bias: bias !== null && bias.strides[1] === 0, mask: mask !== null };
  return queries * group > splitRows && (classed.bias || classed.mask) ? classed : null;
}

/** How many squares a region has along each axis; 1 of what is the same for all. */
export interface Squares {
  readonly batch: number;
  readonly heads: number;
  readonly rows: number;
  readonly columns: number;
}

/** The squares of a range of keys of a region. */
export function squaresOf(
  plan: AttentionPlan,
  classed: Classed,
  region: Region,
  { keys }: KeyRange,
): Squares {
  const looked = [classed.bias && plan.bias, classed.mask && plan.mask];
  const varies = (axis: 0 | 1) => looked.some((view) => view && view.strides[axis] !== 0);
  return {
    batch: varies(0) ? extent(batchesOf(plan, region)) : 1,
    heads: varies(1) ? extent(queryHeadsOf(plan, region)) : 1,
    rows: Math.ceil(extent(queriesOf(plan, region)) / classExtent),
    columns: Math.ceil(extent(keysIn(plan, region, keys)) / classExtent),
  };
}

/** Words of the squares of a region, one range of keys after the other in the same place. */
export function classWords(
  plan: AttentionPlan,
  region: Region,
  keyRanges: readonly KeyRange[],
): number {
  const classed = classedOf(plan);
  if (classed === null) return 0;
  return keyRanges.reduce((most, keyRange) => {
    const { batch, heads, rows, columns } = squaresOf(plan, classed, region, keyRange);
    return Math.max(most, batch * heads * rows * columns);
  }, 0);
}

/** Where the squares of a range of keys are: from a word of the tables on. */
export function placeOfClasses(
  plan: AttentionPlan,
  classed: Classed,
  region: Region,
  keyRange: KeyRange,
  at: number,
): Placed {
  const { batch, heads, rows, columns } = squaresOf(plan, classed, region, keyRange);
  const perHead = heads === 1 ? 0 : rows * columns;
  return { at, strides: [batch === 1 ? 0 : heads * rows * columns, perHead, columns, 1] };
}
