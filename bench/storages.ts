/**
 * How the benches have KV caches store: all that the library offers.
 *
 * @module
 */

import type { StoredAs } from "../examples/llama/caches.ts";

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

/** What tables call a storage. */
export function nameOf({ dtype, smoothKeys }: StoredAs): string {
  return smoothKeys ? `${dtype}, smooth keys` : `${dtype}`;
}
