/**
 * A cache of bytes as files of it were saved by versions before: `tests/vectors/cache_version_1.json` has what the code
 * of then made of `fillCache()`, in base64.
 *
 * @module
 */

import type { Engine, KvCache, Tensor } from "@flashtile/attention";
import saved from "../vectors/cache_version_1.json" with { type: "json" };

/** Rows whose words and whose pairs of tokens are not whole. */
const sizes = { batch: 2, kvHeads: 2, headDim: 10, valueDim: 5, pageSize: 16 } as const;

/** Small multiples of a power of two: whatever sums them up, and in whichever order, has the same. */
function numbersOf(count: number, width: number, seed: number): Tensor {
  const shape = [sizes.batch, sizes.kvHeads, count, width];
  const length = shape.reduce((a, b) => a * b, 1);
  const data = Float32Array.from({ length }, (_, at) => ((at + seed) * 7919 % 1009 - 504) / 256);
  return { data, shape };
}

function append(cache: KvCache, count: number, seed: number, lengths?: number[]): void {
  const { headDim, valueDim } = sizes;
  const [k, v] = [headDim, valueDim].map((width) => numbersOf(count, width, seed + width));
  cache.append(k, v, lengths && { lengths });
}

/** A cache of those sizes, empty. */
export function emptyCache(engine: Engine): KvCache {
  return engine.kvCache({ ...sizes, dtype: "int8", smoothKeys: true });
}

/** The cache that was saved. */
export function fillCache(engine: Engine): KvCache {
  const cache = emptyCache(engine);
  append(cache, 16, 1);
  append(cache, 5, 2, [5, 2]);
  return cache;
}

/** So many queries against it. */
export function queriesOf(count: number): Tensor {
  return numbersOf(count, sizes.headDim, 3);
}

/** What version 1 made of it, by the backend whose memory it was in. */
export const savedByVersion1: Readonly<Record<"wasm" | "webgpu", string>> = saved;
