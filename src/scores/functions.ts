/**
 * The functions of a call, as it reads them.
 *
 * @module
 */

import type { HeldArray } from "../tensor/arrays.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { sourceOf } from "./captured.ts";
import { type Graph, traceMask, traceScore } from "./graph.ts";
import type { CapturedArray, ScoreFunctions } from "./kinds.ts";

/** Elements of an array that a function reads. */
export interface CapturedElements {
  readonly data: HeldArray | GPUBuffer;
}

/** A score and a mask function, one of which may be missing. */
export interface Functions {
  readonly score: Graph | undefined;
  readonly mask: Graph | undefined;
  /** What they read. */
  readonly arrays: ReadonlyMap<CapturedArray, CapturedElements>;
  /** Keys before the first one, of a stream. */
  readonly keysBefore: number;
  /** Query heads before the first one, of a part of a call. */
  readonly headsBefore: number;
  /** Whether nothing but they says where rows are among the keys. */
  readonly isAligned: boolean;
}

/**
 * Runs the functions among the options of a call, once.
 *
 * @param isAligned Whether no other option says where rows are among the keys.
 * @throws {TypeError} When one is no function, or does what a graph cannot say.
 * @throws {RangeError} When an array that they read has become shorter than its shape.
 */
export function readFunctions(
  { scoreMod, maskMod }: ScoreFunctions,
  isAligned: boolean,
): Functions | null {
  if (scoreMod === undefined && maskMod === undefined) return null;
  const score = scoreMod === undefined ? undefined : traceScore(scoreMod);
  const mask = maskMod === undefined ? undefined : traceMask(maskMod);
  const arrays = [...score?.arrays ?? [], ...mask?.arrays ?? []];
  return {
    ...{ score, mask, keysBefore: 0, headsBefore: 0, isAligned },
    arrays: new Map(arrays.map((array) => [array, { data: elementsOf(array) }])),
  };
}

/** They are looked at anew: what was transferred since has none. */
function elementsOf(array: CapturedArray): HeldArray | GPUBuffer {
  const data = sourceOf(array), needed = sizeOf(array.shape);
  const length = "kind" in data ? lengthNow(data) : data.size / 4;
  if (length >= needed) return data;
  throw new RangeError(
    `Cannot attend: a captured array of shape [${
      array.shape.join(", ")
    }] needs ${needed} elements, ` +
      `its data has ${length} by now`,
  );
}

function lengthNow(held: HeldArray): number {
  const { buffer, lender, byteOffset, length } = held;
  const bytes = (lender?.buffer ?? buffer).byteLength - byteOffset;
  return bytes < length * 4 ? Math.max(0, Math.floor(bytes / 4)) : length;
}
