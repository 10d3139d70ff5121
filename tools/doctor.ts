/**
 * `deno task doctor`, and `npx flashtile doctor` of the npm package: what this machine offers, which
 * backend `auto` takes for which size, one small run on each, checked against the oracle, how fast a
 * larger one is, and what to do about what is missing.
 *
 * @module
 */

import process from "node:process";
import "../src/wide/mod.ts";
import { type BackendName, capabilities, createEngine, type Engine, tensor } from "../mod.ts";
import { gpuWork } from "../src/engine/auto.ts";
import { referenceAttention } from "../src/reference/mod.ts";
import { adviceFor, type Host } from "./advice.ts";

const usage = `Usage: flashtile doctor (in a checkout: deno task doctor)

Tells what this machine offers: Wasm, threads, a GPU, and why not; tries a small call on each, checks
it, measures a larger one, and says what to do about what is missing. Takes a few seconds.`;

/** Largest error of a right result of the checked run; it is some 1e-7. */
const tolerance = 2e-6;

/** Numbers between -1 and 1, the same each time. */
function numbers(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, at) => Math.sin(seed * 1000 + at * 12.9898));
}

/** Queries, keys and values of some heads. */
function heads(count: number, length: number) {
  const shape = [count, length, 64];
  return [1, 2, 3].map((seed) => tensor(numbers(count * length * 64, seed), shape));
}

/** Largest error of the checked run on an engine. */
async function check(engine: Engine): Promise<number> {
  const [q, k, v] = heads(2, 100);
  const { out } = await engine.attention(q, k, v, { causal: true });
  const expected = referenceAttention(q, k, v, { causal: true }).out.data;
  const error = out.data.reduce((most, x, at) => Math.max(most, Math.abs(x - expected[at])), 0);
  if (error <= tolerance) return error;
  throw new Error(`wrong results, off by ${error}`);
}

/** Milliseconds of the fastest of some runs of a call of 8 heads of D = 64, from arrays and into one. */
async function measure(engine: Engine, length: number): Promise<number> {
  const [q, k, v] = heads(8, length);
  let best = Infinity;
  let spent = 0;
  for (let run = 0; run < 4 && spent < 2000; run++) { // The first makes compilers look.
    const start = performance.now();
    await engine.attention(q, k, v);
    const took = performance.now() - start;
    best = Math.min(best, took);
    spent += took;
  }
  return best;
}

/** What a run on a backend gave, in words. */
async function tryBackend(backend: BackendName, isSlow: boolean): Promise<string> {
  const engine = await createEngine({ backend }) as Engine;
  try {
    await engine.warmup();
    const error = await check(engine), length = isSlow ? 128 : 1024;
    const milliseconds = await measure(engine, length);
    const rate = 4 * 8 * length ** 2 * 64 / milliseconds / 1e6;
    return `right, off by ${error.toExponential(1)} at most; 8 heads, N = ${length}, D = 64: ` +
      `${milliseconds.toFixed(1)} ms, ${rate.toFixed(0)} GFLOP/s (${engine.reason})`;
  } finally {
    await engine.close(); // As Node 20 has it.
  }
}

function line(name: string, words: string): void {
  console.log(`${name.padEnd(10)} ${words}`);
}

/** Which backend `auto` takes for 8 heads of D = 64 and N queries and keys, where there is a GPU. */
function choiceFor(length: number): BackendName {
  return 8 * length ** 2 * 128 < gpuWork ? "wasm" : "webgpu";
}

function hostHere(): Host {
  if ("Deno" in globalThis) return "Deno";
  return "Bun" in globalThis ? "Bun" : "Node";
}

async function examine(): Promise<void> {
  const offered = await capabilities(), { wasm, threads, webgpu } = offered;
  line("wasm", wasm.available ? `${wasm.binary}: ${wasm.reason}` : `no: ${wasm.reason}`);
  line("threads", threads.available ? `${threads.count}` : `no: ${threads.reason}`);
  line("webgpu", `${webgpu.available ? "" : "no: "}${webgpu.reason}`);
  line("auto", `${offered.backend ?? "nothing"}: ${offered.reason}`);

  console.log("\nWhat `auto` takes for arrays of 8 heads, D = 64:");
  for (const length of [128, 512, 1024, 2048, 4096, 16_384]) {
    line(`N = ${length}`, offered.backend === "webgpu" ? choiceFor(length) : `${offered.backend}`);
  }

  console.log("\nA run on each:");
  for (const name of ["wasm", "webgpu"] as const) {
    if (!offered[name].available) {
      line(name, "left out, see above");
      continue;
    }
    try {
      line(name, await tryBackend(name, name === "webgpu" && webgpu.software));
    } catch (error) {
      line(name, `FAILED: ${(error as Error).message}`);
      process.exitCode = 1;
    }
  }

  const advice = adviceFor(offered, hostHere());
  console.log(advice.length === 0 ? "\nNothing is missing." : "\nWhat could be better:");
  for (const sentence of advice) console.log(`- ${sentence}.`);
}

// A task hands `--` on, and the package's command is asked for the doctor.
const words = process.argv.slice(2).filter((word) => word !== "--" && word !== "doctor");
if (words.length === 0) await examine();
else {
  console.log(usage);
  if (!words.some((word) => word === "--help" || word === "-h")) process.exitCode = 2;
}
