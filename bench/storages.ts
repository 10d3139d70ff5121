/**
 * How the benches have KV caches store: all that the library offers.
 *
 * @module
 */

import type { KvCacheOptions } from "../mod.ts";

/** Options of a cache that say how keys and values are stored. */
export type Storage = Pick<KvCacheOptions, "dtype">;

/** In the order of the tables, the exact one first. */
export const storages: readonly Storage[] = [
  { dtype: "f32" },
  { dtype: "f16" },
  { dtype: "bf16" },
  { dtype: "int8" },
];

/** What tables call a storage. */
export function nameOf({ dtype, ...flags }: Storage): string {
  const set = Object.entries(flags).filter(([, value]) => value === true).map(([name]) => name);
  return [dtype, ...set].join(", ");
}
