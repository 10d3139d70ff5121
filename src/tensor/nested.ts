/**
 * Tensors written as arrays in arrays, whose shape is theirs.
 *
 * @module
 */

import { elementOf, lengthOfArray } from "./arrays.ts";

/** Arrays in arrays, any number of them, the innermost of numbers; these may be typed. */
export type NestedNumbers = readonly (number | Float32Array | Float64Array | NestedNumbers)[];

/** The same of booleans. */
export type NestedBooleans = readonly (boolean | NestedBooleans)[];

/** Axes at most: an array may be in itself. */
const mostAxes = 32;

/** Elements, the last axis fastest, and the shape of what they were in. */
export interface ReadNested {
  readonly data: Float32Array | Uint8Array;
  readonly shape: readonly number[];
}

/**
 * Reads them, each once.
 *
 * @throws {TypeError} Where an element is of another kind than the first, which says whether they are numbers or booleans.
 * @throws {RangeError} Where an array is not as long as the first of its axis.
 */
export function readNested(given: readonly unknown[], cannot: string): ReadNested {
  const shape: number[] = [], found: unknown[] = [];
  let depth = -1;
  const add = (value: unknown, axis: number, place: string): void => {
    const length = lengthOfArray(value);
    // What the first elements are in says how many axes there are, and how long.
    const isFirst = depth < 0 && shape.length === axis;
    if (isFirst && (length === undefined || axis === mostAxes)) depth = axis;
    if (axis === depth) {
      const kind = found.length > 0 ? typeof found[0] : typeof value;
      if (typeof value !== kind || (kind !== "number" && kind !== "boolean")) {
        throw new TypeError(
          `${cannot}: \`data${place}\` must be ${
            found.length === 0 ? "a number or a boolean" : `a ${kind}`
          }, got ${length === undefined ? typeof value : "an array"}`,
        );
      }
      return void found.push(value);
    }
    if (isFirst) shape.push(length!);
    if (length !== shape[axis]) {
      throw new RangeError(
        `${cannot}: \`data${place}\` must have ${shape[axis]} elements as the first there has, ` +
          `got ${length ?? typeof value}`,
      );
    }
    for (let at = 0; at < length; at++) add(elementOf(value, at), axis + 1, `${place}[${at}]`);
  };
  add(given, 0, "");
  const isMask = typeof found[0] === "boolean";
  return {
    data: isMask ? Uint8Array.from(found, Number) : Float32Array.from(found as number[]),
    shape,
  };
}
