/**
 * What the constants of a function are for a call: its literals, and extents of the arrays that it reads.
 *
 * @module
 */

import type { Graph } from "./graph.ts";
import type { ConstantSource } from "./primitives.ts";

/** Numbers of 32 bits as their bits. */
const floats = new Float32Array(1), bits = new Int32Array(floats.buffer);

function bitsOf(number: number): number {
  floats[0] = number;
  return bits[0];
}

/** A constant of a function, as its bits; a condition has all of them, or none. */
export function constantOf(source: ConstantSource, { literals, arrays }: Graph): number {
  if (source.from === "zero") return 0;
  if (source.from === "number") return bitsOf(source.number);
  if (source.from === "extent") {
    return arrays[source.array].shape[source.axis] - Number(source.isLast);
  }
  const literal = literals[source.literal];
  if (source.kind !== "score") return source.kind === "condition" ? -literal : literal;
  return bitsOf(literal);
}
