/**
 * `deno task bench:softmax [--json FILE]`: how many elements a nanosecond softmax() does on one thread, of engine tensors
 * in L2 and of some from memory, beside a loop of maximum, exponential and sum alone on a row in L1, of 1,024 numbers and
 * of as many as the rows have, a copy of the same bytes, and the plain loop in JavaScript. Each is checked first.
 *
 * @module
 */

import "../tools/help.ts";
import { createEngine, type Engine, type EngineTensor, softmax } from "@flashtile/attention";
import { referenceSoftmax } from "@flashtile/attention/reference";
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { chooseBinary } from "../src/wasm/binary/choice.ts";
import { relaxed, simd } from "./asm/softmax.gen.ts";
import { machine } from "./machine.ts";
import { numbers } from "./numbers.ts";
import { median } from "./spread.ts";

/** Elements of a call: 256 KiB of each tensor, and 64 MiB. */
const totals = [1 << 16, 1 << 24];

const rounds = 9;

/** The plain formula, row by row. */
function plain(x: Float32Array, y: Float32Array, columns: number): void {
  for (let row = 0; row < x.length; row += columns) {
    let most = -Infinity, sum = 0;
    for (let at = row; at < row + columns; at++) if (x[at] > most) most = x[at];
    for (let at = row; at < row + columns; at++) sum += y[at] = Math.exp(x[at] - most);
    for (let at = row; at < row + columns; at++) y[at] /= sum;
  }
}

/** A row of up to 1,024 numbers, again and again. */
async function loadBare(): Promise<(columns: number, times: number) => void> {
  const text = chooseBinary().name === "relaxed" ? relaxed : simd;
  const binary = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const { instance } = await WebAssembly.instantiate(binary);
  const { memory, heapBase, bare } = instance.exports as unknown as {
    memory: WebAssembly.Memory;
    heapBase(): number;
    bare(x: number, columns: number, times: number): number;
  };
  new Float32Array(memory.buffer, heapBase(), 1024).set(numbers(1024));
  return (columns, times) => void bare(heapBase(), columns, times);
}

/** Something that goes through so many elements. */
interface Subject {
  readonly name: string;
  readonly elements: number;
  run(): unknown;
}

/** Calls before the first that counts: a call that is made again and again is compiled for good by then. */
const warmups = 10_000;

/** Nanoseconds of each subject's fastest run in each round: they take turns. */
async function race(subjects: readonly Subject[], repeats: number): Promise<number[][]> {
  if (repeats > 1) { for (let call = 0; call < warmups; call++) await subjects[0].run(); }
  const times = subjects.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, { run, elements }] of subjects.entries()) {
      let best = Infinity;
      for (let repeat = 0; repeat < repeats; repeat++) {
        const start = performance.now();
        await run();
        best = Math.min(best, performance.now() - start);
      }
      times[index].push(best * 1e6 / elements);
    }
  }
  return times;
}

function check(x: EngineTensor, out: EngineTensor): void {
  const columns = x.shape[1], row = { data: x.data.subarray(0, columns), shape: [columns] };
  const expected = referenceSoftmax(row).out.data, got = out.data;
  const wrong = expected.some((y, at) => Math.abs(y - got[at]) > 3e-7);
  if (wrong) throw new Error(`softmax() of ${columns} columns is wrong`);
}

/** Rates in elements a nanosecond, and ratios of rates within rounds. */
async function measure(
  engine: Engine,
  bare: (columns: number, times: number) => void,
  total: number,
  columns: number,
) {
  const x = engine.tensor([total / columns, columns]), out = engine.tensor(x.shape);
  x.data.set(numbers(total).map((n) => 4 * n));
  await softmax(x, { out, engine });
  check(x, out);
  const isSmall = total < 1e6, short = Math.min(1024, columns);
  const subjects: Subject[] = [
    { name: "softmax()", elements: total, run: () => softmax(x, { out, engine }) },
    { name: "bare", elements: 1 << 20, run: () => bare(1024, 1024) },
    { name: "bare, as long", elements: 1 << 20, run: () => bare(short, (1 << 20) / short) },
    { name: "copy", elements: total, run: () => out.data.set(x.data) },
    { name: "plain", elements: total, run: () => plain(x.data, out.data, columns) },
  ];
  const times = await race(subjects, isSmall ? 200 : 1);
  x.free();
  out.free();
  const ratio = (other: number) => median(times[0].map((own, round) => times[other][round] / own));
  return {
    ...{ rows: total / columns, columns },
    rates: Object.fromEntries(subjects.map(({ name }, at) => [name, 1 / median(times[at])])),
    ...{ ofBare: ratio(1), ofBareAsLong: ratio(2), ofCopy: ratio(3), overPlain: ratio(4) },
  };
}

const { values } = parseArgs({ options: { json: { type: "string" } } });
const head = { machine: machine() };
console.log(`${head.machine.cpu}, ${head.machine.runtime}: elements a nanosecond, one thread`);
await using engine = await createEngine({ backend: "wasm", threads: 1 });
const bare = await loadBare();
const rows = [];
for (const total of totals) {
  for (const columns of [64, 1024, 32_768, 1 << 20]) {
    if (columns > total) continue;
    const row = await measure(engine, bare, total, columns);
    rows.push(row);
    const rates = Object.entries(row.rates).map(([name, rate]) => `${name} ${rate.toFixed(2)}`);
    console.log(
      `${row.rows} x ${columns}: ${rates.join(", ")}; of bare ${
        (100 * row.ofBare).toFixed(0)
      } % (of rows as long ${(100 * row.ofBareAsLong).toFixed(0)} %), ` +
        `of copy ${(100 * row.ofCopy).toFixed(0)} %, over plain ${row.overPlain.toFixed(1)}`,
    );
  }
}
if (values.json) await writeFile(values.json, JSON.stringify({ ...head, rows }, null, 2) + "\n");
