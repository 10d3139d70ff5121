/**
 * How the benches have KV caches store: all that the library offers.
 *
 * @module
 */

import type { KvCacheOptions } from "../mod.ts";

/** How keys and values are stored; as the library has it by default. */
export type StoredAs = Pick<KvCacheOptions, "dtype" | "smoothKeys">;

/** In the order of the tables, the exact one first. */
export const storages: readonly StoredAs[] = [
  { dtype: "f32" },
  { dtype: "f16" },
  { dtype: "bf16" },
  { dtype: "int8" },
  { dtype: "int8", smoothKeys: true },
  { dtype: "int4" },
  { dtype: "int4", smoothKeys: true },
];

/** Those that are asked in every precision: exact keys, and bytes, which products by integers read as they are. */
export const byPrecision: readonly StoredAs[] = storages.filter(({ dtype }) =>
  dtype === "f32" || dtype === "int8"
);

/** What tables call a storage. */
export function nameOf({ dtype, smoothKeys }: StoredAs): string {
  return smoothKeys ? `${dtype}, smooth keys` : `${dtype}`;
}
