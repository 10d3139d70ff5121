/**
 * Short lists of numbers in every form that options take them in.
 *
 * @module
 */

import type { NumberList } from "@flashtile/attention";
import { bitsIn } from "./storage.ts";

/** A list in one form, by the form's name. */
export type Forms = readonly (readonly [form: string, list: NumberList])[];

type Maker = { from(numbers: readonly number[]): ArrayBufferView & ArrayLike<number> };

/** Numbers in tensors: contiguous, and every third element from the second on. */
function tensorsOf(numbers: readonly number[], Array: Maker): Forms {
  const spread = numbers.flatMap((x) => [99, x, 99]);
  const shape = [numbers.length], kind = Array.from([]).constructor.name;
  return [
    [`a tensor in a ${kind}`, { data: Array.from(numbers), shape }],
    [`a tensor with strides in a ${kind}`, {
      ...{ data: Array.from(spread), shape },
      ...{ strides: [3], offset: 1 },
    }],
  ];
}

/** What is like an array, and no more. */
function arrayLike(numbers: readonly number[]): ArrayLike<number> {
  return Object.assign(Object.create(null), { ...numbers, length: numbers.length });
}

/** Whole numbers that bytes hold, in every form. */
export function wholeForms(numbers: readonly number[]): Forms {
  return [
    ["an array", numbers],
    ["what is like an array", arrayLike(numbers)],
    ...[Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array].map((Kind) =>
      [Kind.name, Kind.from(numbers)] as const
    ),
    ...[Int32Array, Uint32Array, Float32Array, Float64Array].map((Kind) =>
      [Kind.name, Kind.from(numbers)] as const
    ),
    ["BigInt64Array", BigInt64Array.from(numbers.map(BigInt))],
    ...tensorsOf(numbers, Int32Array),
    ...tensorsOf(numbers, Float32Array),
    ["a tensor in a BigInt64Array", {
      ...{ data: BigInt64Array.from(numbers.map(BigInt)), shape: [numbers.length] },
    }],
    ...halfTensors(numbers),
  ];
}

function halfTensors(numbers: readonly number[]): Forms {
  return (["f16", "bf16"] as const).map((dtype) => [
    `a tensor of ${dtype}`,
    { data: bitsIn(numbers, dtype), shape: [numbers.length], dtype },
  ]);
}

/** Floats that bf16 holds, in every form. */
export function floatForms(numbers: readonly number[]): Forms {
  return [
    ["an array", numbers],
    ["what is like an array", arrayLike(numbers)],
    ["Float32Array", Float32Array.from(numbers)],
    ["Float64Array", Float64Array.from(numbers)],
    ...(typeof Float16Array === "undefined"
      ? []
      : [["Float16Array", Float16Array.from(numbers)] as const]),
    ...tensorsOf(numbers, Float32Array),
    ...tensorsOf(numbers, Float64Array),
    ...halfTensors(numbers),
  ];
}
