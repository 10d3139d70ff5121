/**
 * `deno task doctor`: what this machine offers, which backend `auto` takes for which size, and one
 * small run on each, checked against the oracle.
 *
 * @module
 */

import process from "node:process";
import "../src/wide/mod.ts";
import { type BackendName, capabilities, createEngine, tensor } from "../mod.ts";
import { chooseFor } from "../src/engine/auto.ts";
import { attention } from "../src/operations/attention/operation.ts";
import { planAttention } from "../src/operations/attention/plan.ts";
import { referenceAttention } from "../src/reference/mod.ts";

/** Largest error of a right result of the checked run; it is some 1e-7. */
const tolerance = 2e-6;

/** Numbers between -1 and 1, the same each time. */
function numbers(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, at) => Math.sin(seed * 1000 + at * 12.9898));
}

const [q, k, v] = [1, 2, 3].map((seed) => tensor(numbers(2 * 100 * 64, seed), [2, 100, 64]));

/** Largest error of the checked run on a backend, and its second run's milliseconds. */
async function tryBackend(backend: BackendName): Promise<string> {
  await using engine = await createEngine({ backend });
  await engine.warmup();
  await engine.attention(q, k, v, { causal: true });
  const start = performance.now();
  const { out } = await engine.attention(q, k, v, { causal: true });
  const milliseconds = performance.now() - start;
  const expected = referenceAttention(q, k, v, { causal: true }).out.data;
  const error = out.data.reduce((most, x, at) => Math.max(most, Math.abs(x - expected[at])), 0);
  if (!(error <= tolerance)) throw new Error(`wrong results, off by ${error}`);
  const figures = `error ${error.toExponential(1)}, ${milliseconds.toFixed(1)} ms`;
  return `right: H = 2, N = 100, D = 64, causal: ${figures} (${engine.reason})`;
}

function line(name: string, words: string): void {
  console.log(`${name.padEnd(10)} ${words}`);
}

/** Which backend `auto` takes for one head of D = 64 and N queries and keys. */
function choiceFor(length: number): BackendName {
  const one = { data: new Float32Array(1), shape: [8, length, 64], strides: [0, 0, 0] };
  return chooseFor(attention, planAttention(one, one, one));
}

const offered = await capabilities();
line(
  "wasm",
  offered.wasm.available
    ? `${offered.wasm.binary}: ${offered.wasm.reason}`
    : `no: ${offered.wasm.reason}`,
);
line(
  "threads",
  offered.threads.available ? `${offered.threads.count}` : `no: ${offered.threads.reason}`,
);
line("webgpu", `${offered.webgpu.available ? "" : "no: "}${offered.webgpu.reason}`);
line("auto", `${offered.backend ?? "nothing"}: ${offered.reason}`);

console.log("\nWhat `auto` takes for arrays of 8 heads, D = 64:");
for (const length of [128, 512, 1024, 2048, 4096, 16_384]) {
  line(`N = ${length}`, offered.backend === "webgpu" ? choiceFor(length) : `${offered.backend}`);
}

console.log("\nOne small run on each:");
for (const name of ["wasm", "webgpu"] as const) {
  if (!offered[name].available) {
    line(name, "left out, see above");
    continue;
  }
  try {
    line(name, await tryBackend(name));
  } catch (error) {
    line(name, `FAILED: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
