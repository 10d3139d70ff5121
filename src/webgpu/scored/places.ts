/**
 * Places: what functions read, in the tables of a region behind all else. Two words of each segment, constants, three words of
 * each array, and the arrays.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import { constantOf } from "../../scores/constants.ts";
import type { Functions } from "../../scores/functions.ts";
import type { CapturedArray } from "../../scores/kinds.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { sizeOf } from "../../tensor/tensor.ts";
import { queryHeadsOf, segmentsIn } from "../attention/spans.ts";
import type { Values } from "../shader/parameters.ts";
import { extent, type Region } from "../transfer/regions.ts";
import type { FunctionCode } from "./code.ts";

/** What uniforms say of functions; words count from the beginning of the tables. */
export const functionFields = {
  segments_at: "u32",
  constants_at: "u32",
  places_at: "u32",
  /** Query heads before the first of the region. */
  first_head: "u32",
  /** Keys before the first one, of a stream. */
  keys_before: "i32",
} as const;

/** An array on the GPU, and the word of the tables where it is copied. */
export interface GpuArray {
  readonly buffer: GPUBuffer;
  readonly word: number;
  readonly count: number;
}

/** A plan with functions, and what was compiled of them. */
export interface Compiled {
  readonly plan: AttentionPlan;
  readonly functions: Functions;
  readonly code: FunctionCode;
}

/** Arrays as shaders count them: those of the score function, then those of the mask. */
function arraysOf({ score, mask }: Functions): readonly CapturedArray[] {
  return [...score?.arrays ?? [], ...mask?.arrays ?? []];
}

/** Words before the arrays. */
function headWords({ functions, code }: Compiled, region: Region): number {
  return 2 * extent(region.batch) + code.words.length + 3 * arraysOf(functions).length;
}

/** Words of all that functions read. */
export function countFunctionWords(compiled: Compiled, region: Region): number {
  return [...compiled.functions.arrays.keys()].reduce(
    (sum, { shape }) => sum + sizeOf(shape),
    headWords(compiled, region),
  );
}

/** Of a segment: which it is for functions, and the place of its first row that the region has. */
function segmentWords({ plan }: Compiled, region: Region): number[] {
  const isCache = plan.kv.kind === "pages";
  return segmentsIn(plan, region).flatMap(({ batch, queries, keys, rowsBefore = 0 }, at) => [
    plan.packed ? region.batch[0] + at : batch,
    // With a cache, by its place in the sequence, whose last tokens the queries are.
    rowsBefore + region.positions[0] + (isCache ? keys - queries : 0),
  ]);
}

/** The elements of an array in memory, as bits. */
function bitsOf(held: HeldArray, count: number): Uint32Array {
  const { buffer, byteOffset } = held.now("a captured array's");
  return new Uint32Array(buffer, byteOffset, count);
}

/** Words where the arrays are. */
function placeArrays(compiled: Compiled, region: Region, at: number): Map<CapturedArray, number> {
  const places = new Map<CapturedArray, number>();
  let next = at + headWords(compiled, region);
  for (const array of compiled.functions.arrays.keys()) {
    places.set(array, next);
    next += sizeOf(array.shape);
  }
  return places;
}

/** What is written of a region from word `at` on. */
export function functionWords(
  compiled: Compiled,
  region: Region,
  at: number,
): Uint32Array<ArrayBuffer> {
  const { functions, code } = compiled, places = placeArrays(compiled, region, at);
  const { firsts: sums } = sumsOf(functions);
  const words = new Uint32Array(countFunctionWords(compiled, region));
  words.set([
    ...segmentWords(compiled, region),
    ...code.words.map(({ source, of }) => constantOf(source, functions[of]!)),
    ...arraysOf(functions).flatMap((one) => [
      ...[places.get(one)!, sizeOf(one.shape) - 1, sums.get(one) ?? 0],
    ]),
  ]);
  for (const [array, { data }] of functions.arrays) {
    if (isGpuBuffer(data)) continue;
    words.set(bitsOf(data, sizeOf(array.shape)), places.get(array)! - at);
  }
  return words;
}

/** Where the sums of gradients are among those of a workgroup, by arrays that ask for them. */
export function sumsOf({ score }: Functions): {
  readonly firsts: ReadonlyMap<CapturedArray, number>;
  readonly count: number;
} {
  const firsts = new Map<CapturedArray, number>();
  let count = 0;
  for (const array of score?.arrays ?? []) {
    if (!array.grad) continue;
    firsts.set(array, count);
    count += sizeOf(array.shape);
  }
  return { firsts, count };
}

/** What uniforms say of it. */
export function functionValues(
  { plan, functions, code }: Compiled,
  region: Region,
  at: number,
): Values<typeof functionFields> {
  const constantsAt = at + 2 * extent(region.batch);
  return {
    ...{ segments_at: at, constants_at: constantsAt },
    places_at: constantsAt + code.words.length,
    first_head: functions.headsBefore + queryHeadsOf(plan, region)[0],
    keys_before: functions.keysBefore,
  };
}

/** Arrays that are to be copied there. */
export function gpuArraysOf(compiled: Compiled, region: Region, at: number): GpuArray[] {
  const places = placeArrays(compiled, region, at);
  return [...compiled.functions.arrays].flatMap(([array, { data }]) =>
    isGpuBuffer(data)
      ? [{ buffer: data, word: places.get(array)!, count: sizeOf(array.shape) }]
      : []
  );
}
