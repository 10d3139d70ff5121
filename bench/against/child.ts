/**
 * One process of a checkout: `child.ts MODULE NAME` measures what is named, and prints milliseconds
 * of the fastest of some turns as JSON; or the reason, where the checkout cannot do it.
 *
 * @module
 */

import process from "node:process";
import type { Engine } from "../../mod.ts";
import { turn } from "../peers/turns.ts";
import { type Measure, measures } from "./measures.ts";

type Library = typeof import("../../mod.ts");

/** What a process prints: milliseconds, or why there are none. */
export type Measured = number | string;

/**
 * Milliseconds that a turn, the turns before the first that counts, and all together take. A turn is
 * shorter than what a busy system lets a process run for at a time.
 */
const bounds = { turn: 1, warmUp: 300, all: 200 };

/** Turns that count, at least. */
const fewestTurns = 4;

/** Milliseconds of a run in the fastest turn. */
async function fastest(run: () => unknown): Promise<number> {
  await turn({ run }, bounds.warmUp);
  const times: number[] = [], until = performance.now() + bounds.all;
  while (times.length < fewestTurns || performance.now() < until) {
    times.push(await turn({ run }, bounds.turn));
  }
  return Math.min(...times);
}

async function timeRun({ threads, prepare }: Measure, module: string): Promise<number> {
  const { createEngine }: Library = await import(module);
  const engine: Engine = await createEngine({ backend: "wasm", threads });
  try {
    return await fastest(await prepare(engine));
  } finally {
    await engine.close();
  }
}

const [module, name] = process.argv.slice(2);
const measure = measures.find((one) => one.name === name)!;
const measured: Measured = await timeRun(measure, module).catch(String);
console.log(JSON.stringify(measured));
