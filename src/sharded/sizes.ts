/**
 * What a sharded cache consists of: sizes that coordinator and shards must have alike.
 *
 * @module
 */

import type { CacheDType } from "../contract/pages.ts";

/** Sizes of a cache that many machines hold. */
export interface ShardedSizes {
  /** Layers of the model. */
  readonly layers: number;
  /** Sequences, B. */
  readonly batch: number;
  /** Key/value heads, Hkv. */
  readonly kvHeads: number;
  /** Size of a key, D. */
  readonly headDim: number;
  /** Size of a value, Dv. */
  readonly valueDim: number;
  /** Tokens of a page: whole pages are dealt to groups. */
  readonly pageSize: number;
  /** How shards store keys and values. */
  readonly dtype: CacheDType;
}

/** Their names, in the order of messages. */
export const sizeNames = [
  "layers",
  "batch",
  "kvHeads",
  "headDim",
  "valueDim",
  "pageSize",
] as const satisfies readonly (keyof ShardedSizes)[];

/** What is different in two caches, in words; `undefined` where nothing is. */
export function differenceOf(ours: ShardedSizes, theirs: ShardedSizes): string | undefined {
  const name = [...sizeNames, "dtype" as const].find((name) => ours[name] !== theirs[name]);
  return name && `${name} ${ours[name]}, asked is ${theirs[name]}`;
}

/** Layers of a cache, and layers times sequences, at most: something is kept for each. */
export const mostLayers = 4096, mostPlaces = 2 ** 20;
