/**
 * One process of a checkout: `child.ts MODULE NAME...` measures what is named, each as the fastest
 * of some turns, and prints milliseconds as JSON; what the checkout cannot do, as the reason.
 *
 * @module
 */

import process from "node:process";
import type { Engine } from "../../mod.ts";
import { turn } from "../peers/turns.ts";
import { type Measure, measures, start } from "./measures.ts";

type Library = typeof import("../../mod.ts");

/** What a process prints: milliseconds, or why there are none. */
export type Measured = Record<string, number | string>;

/** Milliseconds that a turn, the turns before the first that counts, and all together take. */
const bounds = { turn: 10, warmUp: 80, all: 200 };

/** Turns that count, at least. */
const fewestTurns = 4;

/** From before the library is loaded to a result of it. */
async function timeStart(module: string): Promise<number> {
  const data = new Float32Array(1024), before = performance.now();
  const { attention }: Library = await import(module);
  const q = { data, shape: [16, 64] };
  await attention(q, q, q);
  return performance.now() - before;
}

/** Milliseconds of a run in the fastest turn. */
async function fastest(run: () => unknown): Promise<number> {
  await turn({ run }, bounds.warmUp);
  const times: number[] = [], until = performance.now() + bounds.all;
  while (times.length < fewestTurns || performance.now() < until) {
    times.push(await turn({ run }, bounds.turn));
  }
  return Math.min(...times);
}

/** Measures on an engine of its own, so that no measure finds the memory of another. */
async function measure({ createEngine }: Library, { threads, prepare }: Measure): Promise<number> {
  const engine: Engine = await createEngine({ backend: "wasm", threads });
  try {
    return await fastest(await prepare(engine));
  } finally {
    await engine.close();
  }
}

async function main(module: string, names: readonly string[]): Promise<void> {
  const measured: Measured = {};
  if (names.includes(start)) measured[start] = await timeStart(module);
  const library: Library = await import(module);
  for (const one of measures.filter(({ name }) => names.includes(name))) {
    measured[one.name] = await measure(library, one).catch(String);
  }
  console.log(JSON.stringify(measured));
}

const [module, ...names] = process.argv.slice(2);
await main(module, names);
