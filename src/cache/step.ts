/**
 * What a step is asked: rows are turned, appended and attended to, and what is read of the caller's is read
 * once for all three.
 *
 * @module
 */

import { readTensor } from "../check/tensors.ts";
import { bare, readOptions } from "../check/words.ts";
import type { PagedKeys, PageLayout } from "../contract/pages.ts";
import type { SequenceRows } from "../operations/attention/check/rows.ts";
import { depthsOf, readParents } from "../operations/attention/check/tail.ts";
import { inputsOfCall } from "../operations/attention/operation.ts";
import type { CacheAttentionOptions } from "../operations/attention/options.ts";
import {
  type AttentionCall,
  cachedNames,
  type CachedOptions,
  readCached,
} from "../operations/attention/plan.ts";
import {
  readRope,
  type RopeCall,
  ropeNames,
  type RopeOptions,
} from "../operations/rope/options.ts";
import type { useAll } from "../tensor/lending.ts";
import type { AnyTensor } from "../tensor/tensor.ts";
import { type CheckedTokens, readTokens } from "./check.ts";

/** Options of `cache.step()`. */
export interface StepOptions extends CacheAttentionOptions {
  /**
   * How queries and keys are turned, as `rope()` has it; not at all by default. `positions` are by default those of the
   * tokens in their sequences: the first stands behind the tokens that are there. With `parents` one
   * stands behind what it follows on.
   */
  readonly rope?: Omit<RopeOptions, "layout"> | undefined;
}

const cannot = "Cannot step";
const stepNames = [...cachedNames, "rope"] as const;

/** A step as it was read. */
export interface StepCall {
  readonly tokens: CheckedTokens;
  /** Attention to these tokens, too. */
  readonly attention: AttentionCall;
  /** How queries and keys are turned; `null` for not at all. */
  readonly rope: RopeCall | null;
}

/** Reads a step of a cache whose sequences have so many tokens. */
export function readStep(
  given: readonly [q: AnyTensor, k: AnyTensor, v: AnyTensor],
  sizes: PageLayout & { readonly batch: number },
  paged: PagedKeys,
  lengths: readonly number[],
  options: StepOptions,
): StepCall {
  const read = readOptions<StepOptions & CachedOptions>(options, stepNames, cannot);
  const { rope } = read, asked = bare<CachedOptions>(read);
  delete (asked as { rope?: unknown }).rope;
  const { layout, sequences, cuSeqlens, lengths: counted } = asked;
  const [q, k, v] = (["q", "k", "v"] as const).map((name, at) =>
    readTensor(name, given[at], cannot)
  );
  const tokens = readTokens(
    k,
    v,
    sizes,
    { layout, sequences, cuSeqlens, lengths: counted },
    cannot,
  );
  const { rows } = tokens, count = tokens.k.shape[2];
  const parents = asked.parents === undefined
    ? undefined
    : readParents(asked.parents, rows, count, cannot);
  const after = [...lengths], { kept } = paged, dropped = [...kept?.dropped ?? []];
  for (const [part, at] of rows.sequences.entries()) {
    after[at] += rows.counts[part];
    if (kept && rows.counts[part] > 0) dropped[at] = kept.next[at];
  }
  const ahead = kept && { ...kept, dropped };
  const attention = readCached(q, { ...paged, kept: ahead }, after, {
    ...asked,
    ...asRead(rows, count),
    parents: parents && flatten(parents, rows, count),
  }, true);
  if (attention.plan.queries !== count) {
    throw new RangeError(
      `${cannot}: \`q\` must have as many rows as \`k\`, ${count}, got ${attention.plan.queries}`,
    );
  }
  if (rope === undefined) return { tokens, attention, rope: null };
  const { positions = positionsOf(rows, count, lengths, parents), ...turned } = readOptions(
    rope,
    ropeNames.filter((name) => name !== "layout"),
    cannot,
  );
  return { tokens, attention, rope: readRope(q, k, { ...turned, positions, layout }) };
}

/** All that a step reads and writes of the caller's. */
export function usedBy(
  { attention: { plan }, tokens: { k, v } }: StepCall,
): Parameters<typeof useAll>[0] {
  return [...Object.values(inputsOfCall(plan)), k, v];
}

/** Whose rows there are, in words that read as the caller's did. */
function asRead({ sequences, packed, firsts, counts }: SequenceRows, rows: number) {
  return packed
    ? { sequences, cuSeqlens: [...firsts, rows], lengths: undefined }
    : { sequences, lengths: counts };
}

/** Numbers of the rows of all sequences, in the order of the rows; 0 for what does not count. */
function spread(
  { packed, firsts, counts }: SequenceRows,
  rows: number,
  of: (part: number, row: number) => number,
): number[] {
  const all = new Array<number>(packed ? rows : counts.length * rows).fill(0);
  for (const [part, count] of counts.entries()) {
    const first = packed ? firsts[part] : part * rows;
    for (let row = 0; row < count; row++) all[first + row] = of(part, row);
  }
  return all;
}

function flatten(parents: readonly (readonly number[])[], rows: SequenceRows, count: number) {
  const all = spread(rows, count, (part, row) => parents[part][row]);
  if (rows.packed) return all;
  return { data: Int32Array.from(all), shape: [rows.counts.length, count] };
}

/** Where tokens stand that are appended to sequences of so many. */
function positionsOf(
  rows: SequenceRows,
  count: number,
  lengths: readonly number[],
  parents: readonly (readonly number[])[] | undefined,
): number[] {
  const depths = parents?.map(depthsOf);
  return spread(
    rows,
    count,
    (part, row) => lengths[rows.sequences[part]] + (depths?.[part][row] ?? row),
  );
}
