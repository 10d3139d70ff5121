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

/** Whether it is on a stack of WebGPU that is another underneath: `FLASHTILE_TESTS=brief`. */
const isBrief = setting("FLASHTILE_TESTS") === "brief";

/** Why a test waits in a daily run. */
export const untilWhole = "left to a whole run: FLASHTILE_TESTS=whole";

/** Options of a test that takes seconds and tells little more than others: for whole runs. */
export const inWholeRuns = isWhole ? {} : { skip: untilWhole };

/**
 * How often something random is tried: a tenth of it in a daily run. On stacks of WebGPU, where a
 * program stands in for the GPU, a third, and a twentieth on those that are brief:
 * `FLASHTILE_TESTS=brief`.
 */
export function share(count: number): number {
  if (gpuRequired) return Math.ceil(count / (isBrief ? 20 : 3));
  return isWhole ? count : Math.ceil(count / 10);
}

/** Some of a list, as many as `count`, others in every run and for every name; all in a whole run. */
export function sharedOut<T>(all: readonly T[], count: number, name: string): readonly T[] {
  return isWhole ? all : someOf(all, count, name);
}

/** The same of what takes a stack of WebGPU seconds each: some where it is brief, else all. */
export function sharedOnGpu<T>(all: readonly T[], count: number, name: string): readonly T[] {
  return isBrief ? someOf(all, count, name) : all;
}

function someOf<T>(all: readonly T[], count: number, name: string): readonly T[] {
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
