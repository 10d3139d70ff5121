/**
 * The functions of a call in linear memory: their program, the arrays that they read, and of those that masks read the least and
 * the greatest elements.
 *
 * @module
 */

import { constantOf } from "../../scores/constants.ts";
import type { Functions } from "../../scores/functions.ts";
import type { CapturedArray } from "../../scores/kinds.ts";
import type { Owner, Program } from "../../scores/program.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { sizeOf } from "../../tensor/tensor.ts";
import type { Tiles } from "../attention/jobs.ts";
import type { ScoredKernels } from "../binary/scored_kernels.gen.ts";
import type { Arena } from "../memory/arena.ts";
import { Placer } from "../memory/placer.ts";
import * as fields from "../record/scores.gen.ts";
import { type Compiled, programs } from "./compiled.ts";
import { encode, layRegisters, type TileSizes } from "./encode.ts";
import { type EncodedRanges, encodeRanges } from "./ranges.ts";

/**
 * Keys that instructions work on at a time: what is between them stays in the first cache, and finding the next instruction is
 * little beside doing it.
 */
const chunkKeys = 128;

/** Registers of tiles that a program of which this is so may have; of one with more fewer keys are worked on at a time. */
const mostWide = 512, leastKeys = 8;

/** Bytes of a number. */
const four = 4;

/** Functions in linear memory. */
export interface PlacedFunctions {
  /** Where their program's record is. */
  readonly address: number;
  /** The sums of the gradient of an array that asks for it. */
  sumsOf(array: CapturedArray): Float64Array;
  free(): void;
}

/** What the functions of a call are placed by. */
interface Placing {
  readonly functions: Functions;
  readonly compiled: Compiled;
  readonly sizes: TileSizes;
  readonly kernels: ScoredKernels;
  readonly hasGradient: boolean;
}

/** Where an array is, and the table of its least and greatest elements. */
interface ArrayPlace {
  readonly at: number;
  /** 0 for none. */
  readonly table: number;
  /** Of its gradient; 0 for none. */
  readonly sums: number;
}

/** Arrays of which a mask says something by the least and the greatest of some elements. */
function rangedArrays({ functions: { mask }, compiled: { intervals } }: Placing) {
  const gathered = intervals?.steps.flatMap(({ array }) => array === undefined ? [] : [array]);
  return new Set(gathered?.map((array) => mask!.arrays[array]));
}

/** Gives arrays and tables their places. */
function placeArrays(space: Placer, placing: Placing): Map<CapturedArray, ArrayPlace> {
  const ranged = rangedArrays(placing), places = new Map<CapturedArray, ArrayPlace>();
  for (const array of placing.functions.arrays.keys()) {
    const length = sizeOf(array.shape), at = space.place(length * four);
    const table = ranged.has(array) ? space.place(placing.kernels.tableBytes(length) >>> 0) : 0;
    const sums = placing.hasGradient && array.grad ? space.place(length * 8) : 0;
    places.set(array, { at, table, sums });
  }
  return places;
}

/** Every word of a program but its record, by part. */
interface EncodedFunctions {
  readonly parts: Readonly<Record<string, readonly number[]>>;
  readonly registerBytes: number;
  readonly chunk: number;
  readonly inputs: Readonly<Record<string, number>>;
  readonly ranges: EncodedRanges | undefined;
}

/** What is given, as the record names it. */
const given = { b: "b", h: "h", q: "q", k: "k", distance: "qMinusK" } as const;

function encodeAll(
  { functions, compiled: { program, intervals }, sizes }: Placing,
  places: ReadonlyMap<CapturedArray, ArrayPlace>,
): EncodedFunctions {
  const layout = layRegisters(program, sizes);
  const placeOf = (of: Owner, array: number) => places.get(functions[of]!.arrays[array])!;
  const words = encode(program, sizes, layout, ({ array, of, isSum }) => ({
    address: isSum ? placeOf(of, array).sums : placeOf(of, array).at,
    length: sizeOf(functions[of]!.arrays[array].shape),
  }));
  const ranges = intervals &&
    encodeRanges(
      intervals,
      (source) => constantOf(source, functions.mask!),
      (array) => placeOf("mask", array).table,
    );
  const constants = program.constants.flatMap(({ to, source, of }) => [
    layout.placeOf(to),
    constantOf(source, functions[of]!),
  ]);
  return {
    parts: {
      ...{ ...words, constants, querySteps: ranges?.querySteps ?? [] },
      ...{ steps: ranges?.steps ?? [], ranges: ranges?.ranges ?? [] },
    },
    ...{ registerBytes: layout.bytes, chunk: sizes.chunk },
    inputs: inputsOf(program, layout.placeOf),
    ranges,
  };
}

function inputsOf(
  { inputs }: Program,
  placeOf: ReturnType<typeof layRegisters>["placeOf"],
): Record<string, number> {
  return Object.fromEntries(
    [...inputs].map(([name, register]) => [given[name as keyof typeof given], placeOf(register)]),
  );
}

/** Writes parts one behind the other, and the record that says where they are. */
function writeProgram(memory: Int32Array, address: number, encoded: EncodedFunctions): void {
  const { parts, registerBytes, chunk, inputs, ranges } = encoded, record = address / four;
  const put = (name: string, value: number) =>
    memory[record + fields[name as keyof typeof fields]] = value;
  memory.fill(0, record, record + fields.words);
  let at = address + fields.bytes;
  for (const [name, words] of Object.entries(parts)) {
    memory.set(words, at / four);
    put(name, at);
    at += words.length * four;
    put(`${name}End`, at);
  }
  for (const [name, place] of Object.entries(inputs)) put(name, place);
  put("registerBytes", registerBytes);
  put("chunk", chunk);
  if (ranges === undefined) return;
  for (const [name, place] of ranges.inputs) put(`${name}Range`, place);
  put("result", ranges.result);
  put("rangeBytes", ranges.bytes);
}

function lengthOf({ parts }: EncodedFunctions): number {
  return Object.values(parts).reduce((sum, { length }) => sum + length, fields.words);
}

/** Brings the arrays into linear memory as they are now. */
function fillArrays(
  { memory }: Arena,
  { functions: { arrays }, kernels }: Placing,
  places: ReadonlyMap<CapturedArray, ArrayPlace>,
): void {
  const target = new Uint32Array(memory.buffer);
  for (const [array, { data }] of arrays) {
    const { at, table, sums } = places.get(array)!, length = sizeOf(array.shape);
    const elements = (data as HeldArray<Float32Array | Uint32Array>).now("a captured array's");
    const bits = new Uint32Array(elements.buffer, elements.byteOffset, length);
    target.set(bits, at / four);
    if (table !== 0) kernels.fillTable(at, length, table);
    if (sums !== 0) new Float64Array(memory.buffer, sums, length).fill(0);
  }
}

/**
 * Places the functions of a call, whose arrays are then free to change.
 *
 * @param tiles Those that its jobs are computed in.
 * @param hasGradient Whether these are gradients.
 */
export function placeFunctions(
  arena: Arena,
  kernels: ScoredKernels,
  functions: Functions,
  tiles: Tiles,
  hasGradient = false,
): PlacedFunctions {
  const compiled = programs.of(functions, hasGradient);
  const chunk = compiled.program.registers.tile > mostWide ? leastKeys : chunkKeys;
  const sizes = { queries: tiles.rows, keys: tiles.keys, chunk };
  const placing = { functions, compiled, sizes, kernels, hasGradient };
  const measured = new Placer(0);
  placeArrays(measured, placing);
  const blocks = [arena.allocate(measured.end)], free = () => blocks.forEach(arena.free, arena);
  try {
    const places = placeArrays(new Placer(blocks[0]), placing);
    fillArrays(arena, placing, places);
    const encoded = encodeAll(placing, places), address = arena.allocate(lengthOf(encoded) * four);
    blocks.push(address);
    writeProgram(new Int32Array(arena.memory.buffer), address, encoded);
    return {
      address,
      sumsOf: (array) =>
        new Float64Array(arena.memory.buffer, places.get(array)!.sums, sizeOf(array.shape)),
      free,
    };
  } catch (error) {
    free(); // An array that was detached, or no memory.
    throw error;
  }
}
