/**
 * The library on this machine: standard attention against it, decoding without a cache and with it.
 *
 * @module
 */

import type { Engine, Tensor } from "@flashtile/attention";
import { time } from "../browser/measure.ts";
import { createRandom } from "../llama/random.ts";
import { introductions } from "./figures.ts";
import { materialise } from "./materialised.ts";

/** What was measured at a length, in milliseconds. */
export interface Own {
  readonly length: number;
  /** Every score in an array, in plain JavaScript. */
  readonly standard: number;
  /** The same by the library. */
  readonly flash: number;
  /** A step of decoding where nothing was kept: all rows again. */
  readonly withoutCache: number;
  /** A step of decoding with a cache: one row. */
  readonly withCache: number;
  /** Greatest difference between the results of standard and flash. */
  readonly difference: number;
}

/** Whoever follows. */
export interface Follower {
  /** What begins, and how much of everything is done, from 0 to 1. */
  progress(words: string, done: number): void;
  measured(own: Own): void;
}

/** Lengths of the introductions, which are ours too. */
export const lengths: readonly number[] = introductions.map(({ length }) => length);

/** One head of so many numbers a row. */
export const ownDim = 64;

/**
 * Measures every length.
 *
 * @throws The signal's reason, when it is aborted.
 */
export async function measureOwn(
  engine: Engine,
  follower: Follower,
  signal: AbortSignal,
): Promise<void> {
  follower.progress("warming up", 0);
  const { arrays } = inputsOf(128);
  await materialise(arrays, ownDim, signal);
  for (const [index, length] of lengths.entries()) {
    const progress = (words: string, part: number) =>
      follower.progress(`N = ${length}: ${words}`, (index + part) / lengths.length);
    follower.measured(await measureLength(engine, length, progress, signal));
  }
}

async function measureLength(
  engine: Engine,
  length: number,
  progress: (words: string, part: number) => void,
  signal: AbortSignal,
): Promise<Own> {
  const { arrays, tensors: [q, k, v] } = inputsOf(length);
  progress("standard attention in plain JavaScript", 0);
  const { out, milliseconds: standard } = await materialise(arrays, ownDim, signal);
  progress("FlashAttention", 0.6);
  const flash = await time(() => engine.attention(q, k, v, { signal }));
  progress("decoding without a cache", 0.8);
  const again = await time(() => engine.attention(q, k, v, { causal: true, signal }));
  progress("decoding with a cache", 0.9);
  const withCache = await timeCache(engine, k, v, signal);
  return {
    ...{ length, standard, withCache },
    flash: flash.milliseconds,
    withoutCache: again.milliseconds,
    difference: greatestDifference(out, flash.result.out.data),
  };
}

/** Time of a step: a token goes into the cache, and its query asks all. */
async function timeCache(
  engine: Engine,
  k: Tensor,
  v: Tensor,
  signal: AbortSignal,
): Promise<number> {
  const length = k.shape[1];
  const cache = engine.kvCache({ batch: 1, kvHeads: 1, headDim: ownDim });
  const part = ({ data }: Tensor, from: number, to: number) => ({
    data: data.subarray(from * ownDim, to * ownDim) as Float32Array,
    shape: [1, 1, to - from, ownDim],
  });
  cache.append(part(k, 0, length - 1), part(v, 0, length - 1));
  try {
    const { milliseconds } = await time(async () => {
      cache.truncate(0, length - 1);
      cache.append(part(k, length - 1, length), part(v, length - 1, length));
      return await cache.attend(part(k, 0, 1), { signal });
    });
    return milliseconds;
  } finally {
    cache.free();
  }
}

function inputsOf(length: number) {
  const random = createRandom(length);
  const one = () => Float32Array.from({ length: length * ownDim }, () => 2 * random() - 1);
  const arrays = { q: one(), k: one(), v: one() };
  const tensors = [arrays.q, arrays.k, arrays.v].map((data) => ({
    data,
    shape: [1, length, ownDim],
  }));
  return { arrays, tensors };
}

function greatestDifference(a: Float32Array, b: ArrayLike<number>): number {
  return a.reduce((most, x, at) => Math.max(most, Math.abs(x - b[at])), 0);
}
