/**
 * How much of what is long a run has: a daily one a part, another part each time, a whole one all.
 *
 * @module
 */

import { test } from "node:test";
import { gpuRequired, setting } from "./gpu.ts";
import { seeded } from "./random.ts";
import { varyingSeed } from "./seed.ts";

/** Whether the run has all of every test: `FLASHTILE_TESTS=whole`. */
export const isWhole = setting("FLASHTILE_TESTS") === "whole";

/**
 * Whether it is on a stack of WebGPU that is another underneath, `FLASHTILE_TESTS="brief 1 of 3"`: each of these has its
 * part of the tests, another one with each seed.
 */
const brief = setting("FLASHTILE_TESTS")?.match(/^brief (\d+) of (\d+)$/), isBrief = !!brief;

/** Why a test waits in a daily run. */
export const untilWhole = "left to a whole run: FLASHTILE_TESTS=whole";

/** Why a test with many shaders waits on a brief stack; `undefined` elsewhere. */
export const leftToOneStack = isBrief ? "left to a stack of WebGPU that is not brief" : undefined;

/** Options of a test that takes seconds and tells little more than others: for whole runs. */
export const inWholeRuns = isWhole ? {} : { skip: untilWhole };

/**
 * How often something random is tried: a tenth of it in a daily run and on WebGPU, where a program
 * stands in for the GPU; a twentieth on stacks of WebGPU that are brief.
 */
export function share(count: number): number {
  return isWhole ? count : Math.ceil(count / (isBrief ? 20 : 10));
}

/** A test that takes a second or so: whole runs have all of these, daily ones a third, others with each seed. */
export function longTest(name: string, use: () => void | Promise<void>): void {
  const isNow = sharedOut([name], 1 / 3, name).length > 0;
  test(name, isNow ? {} : { skip: untilWhole }, use);
}

/**
 * Some of a list, as many as `count`, others in every run and for every name; all in a whole run.
 * Of a count below 1, one in as many runs: of 1 / 3 one in every third.
 */
export function sharedOut<T>(all: readonly T[], count: number, name: string): readonly T[] {
  return isWhole ? all : someOf(all, count, name);
}

/** The same of what takes a stack of WebGPU seconds each: some where it is brief, else all. */
export function sharedOnGpu<T>(all: readonly T[], count: number, name: string): readonly T[] {
  return isBrief ? someOf(all, count, name) : all;
}

/** What `sharedOut()` gives; on a stack of WebGPU never all: each has shaders of its own to compile, for seconds. */
export function sharedOutByShader<T>(all: readonly T[], count: number, name: string): readonly T[] {
  return gpuRequired ? someOf(all, count, name) : sharedOut(all, count, name);
}

/** A number from a name, another one with each seed. */
function hashOf(name: string): number {
  let hash = varyingSeed();
  for (const character of name) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  return hash;
}

/** Why a test is not for this stack of WebGPU; `undefined` where it is. */
export function otherStack(name: string): string | undefined {
  if (!brief) return undefined;
  const [, part, parts] = brief.map(Number);
  // The low bits of the hash are those of the characters alone.
  const own = Math.floor(seeded(hashOf(name))() * parts) + 1;
  return own === part ? undefined : `left to stack ${own} of ${parts}`;
}

/** As many of a list as `count`, whatever the run. */
export function someOf<T>(all: readonly T[], count: number, name: string): readonly T[] {
  const random = seeded(hashOf(name)), left = [...all], most = Math.floor(count + random());
  while (left.length > most) left.splice(Math.floor(random() * left.length), 1);
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
