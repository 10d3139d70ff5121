/**
 * Races the variants of a list in the runtime that runs it; prints speeds as JSON.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import process from "node:process";
import { race, type Subject } from "../race.ts";

interface Variant {
  readonly name: string;
  readonly binary: string;
}

/** Work of one call, in floating-point operations: 48 x 48 scores of 64 products. */
const rounds = 150;
const work = 2 * 48 * 48 * 64 * rounds;

function load({ name, binary }: Variant): Subject[] {
  const bytes = readFileSync(binary);
  if (!WebAssembly.validate(bytes)) return [];
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
  const { memory, race: run } = exports as {
    memory: WebAssembly.Memory;
    race(base: number, rounds: number): void;
  };
  const base = 65536;
  new Float32Array(memory.buffer, base, 2 * 48 * 64).fill(0.01);
  return [{ name, work, run: () => run(base, rounds) }];
}

const variants = JSON.parse(readFileSync(process.argv[2], "utf8")) as Variant[];
const speeds = await race(variants.flatMap(load), 25, 2);
console.log(JSON.stringify(Object.fromEntries(
  speeds.map(({ name, median, best }) => [name, `${median.toFixed(0)} / ${best.toFixed(0)}`]),
)));
