/**
 * How the benches have KV caches store: all that the library offers.
 *
 * @module
 */

import type { Storage } from "../examples/llama/caches.ts";

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
