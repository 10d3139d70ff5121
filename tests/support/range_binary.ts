/**
 * Programs of intervals in Wasm, as `tests/asm/score_program.ts` has them.
 *
 * @module
 */

import type { Graph } from "../../src/scores/graph.ts";
import { compileIntervals } from "../../src/scores/intervals.ts";
import * as fields from "../../src/wasm/record/scores.gen.ts";
import { encodeRanges } from "../../src/wasm/scored/ranges.ts";
import type { Interval } from "./interval_machine.ts";
import { constantOf } from "./score_machine.ts";

/** What the test binary exports. */
export interface RangeExports {
  readonly memory: WebAssembly.Memory;
  heapBase(): number;
  beginRanges(program: number, ranges: number, batch: number, head: number): void;
  setQueries(program: number, ranges: number, q0: number, q1: number): void;
  classify(program: number, ranges: number, k0: number, k1: number): number;
  tableBytes(length: number): number;
  fillTable(elements: number, length: number, table: number): void;
}

/** Memory that is taken anew for each mask. */
class Space {
  readonly #exports: RangeExports;
  #next: number;

  constructor(exports: RangeExports) {
    this.#exports = exports;
    this.#next = exports.heapBase();
  }

  take(bytes: number): number {
    const { memory } = this.#exports, at = this.#next;
    this.#next += Math.ceil(bytes / 64) * 64;
    const missing = this.#next - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    return at;
  }

  write(words: ArrayLike<number>): number {
    const at = this.take(words.length * 4);
    new Int32Array(this.#exports.memory.buffer, at, words.length).set(words);
    return at;
  }
}

/** What Wasm says of ranges of what a mask is given. */
export function classifyInWasm(
  exports: RangeExports,
  mask: Graph,
  { b, h, q, k }: Readonly<Record<"b" | "h" | "q" | "k", Interval>>,
): "never" | "mixed" | "always" {
  const space = new Space(exports), tables = new Map<number, number>();
  const tableOf = (array: number) => {
    const known = tables.get(array);
    if (known !== undefined) return known;
    const { data } = mask.arrays[array], elements = space.write(data as Int32Array);
    const { length } = data as Int32Array, table = space.take(exports.tableBytes(length));
    exports.fillTable(elements, length, table);
    tables.set(array, table);
    return table;
  };
  const { querySteps, steps, ranges, bytes, inputs, result } = encodeRanges(
    compileIntervals(mask),
    (source) => constantOf(source, mask),
    tableOf,
  );
  const record = new Int32Array(fields.words), registers = space.take(bytes);
  for (const [name, words] of Object.entries({ querySteps, steps, ranges })) {
    const at = record[fields[name as "steps"]] = space.write(words);
    record[fields[`${name}End` as "stepsEnd"]] = at + words.length * 4;
  }
  for (const name of ["b", "h", "q", "k"] as const) {
    record[fields[`${name}Range`]] = inputs.get(name) ?? 0;
  }
  record[fields.result] = result;
  const program = space.write(record);
  exports.beginRanges(program, registers, b[0], h[0]);
  exports.setQueries(program, registers, q[0], q[1]);
  const said = exports.classify(program, registers, k[0], k[1]);
  return (["never", "mixed", "always"] as const)[said];
}
