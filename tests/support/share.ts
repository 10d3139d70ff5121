/**
 * How much of what is long a run has: a daily one a part, another part each time, a whole one all.
 *
 * @module
 */

import { gpuRequired, setting } from "./gpu.ts";
import { seeded } from "./random.ts";
import { varyingSeed } from "./seed.ts";

/** Whether the run has all of every test: `FLASHTILE_TESTS=whole`. */
export const isWhole = setting("FLASHTILE_TESTS") === "whole";

/** Why a test waits in a daily run. */
export const untilWhole = "left to a whole run: FLASHTILE_TESTS=whole";

/** Options of a test that takes seconds and tells little more than others: for whole runs. */
export const inWholeRuns = isWhole ? {} : { skip: untilWhole };

/**
 * How often something random is tried: a tenth of it in a daily run, a third on the stacks of WebGPU,
 * where a program stands in for the GPU.
 */
export function share(count: number): number {
  if (gpuRequired) return Math.ceil(count / 3);
  return isWhole ? count : Math.ceil(count / 10);
}

/** Some of a list, as many as `count`, others in every run and for every name; all in a whole run. */
export function sharedOut<T>(all: readonly T[], count: number, name: string): readonly T[] {
  if (isWhole || all.length <= count) return all;
  let hash = varyingSeed();
  for (const character of name) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  const random = seeded(hash), left = [...all];
  while (left.length > count) left.splice(Math.floor(random() * left.length), 1);
  return left;
}

/** Pieces of a range of whole numbers: all of them in a whole run, else a tenth. */
export function piecesOf(
  from: number,
  to: number,
  name: string,
): readonly (readonly [number, number])[] {
  const count = 20, end = (piece: number) => from + Math.floor((to - from) * piece / count);
  const all = Array.from({ length: count }, (_, piece) => [end(piece), end(piece + 1)] as const);
  return sharedOut(all, count / 10, name);
}
