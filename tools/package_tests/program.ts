/**
 * A user's program: attention, its gradients, a KV cache and threads, compared with the oracle. Prints
 * what this runtime offers as one line of JSON.
 *
 * @module
 */

import {
  attention,
  attentionWithGradient,
  capabilities,
  createEngine,
  softmax,
  tensor,
} from "@flashtile/attention";
import {
  referenceAttention,
  referenceAttentionBackward,
  referenceSoftmax,
} from "@flashtile/attention/reference";

/** Largest error of a right result of these shapes, by its largest number; it is some 5e-7. */
const tolerance = 2e-6;

/** Numbers between -1 and 1, the same each time. */
function numbers(length: number, seed: number): Float32Array {
  return Float32Array.from({ length }, (_, at) => Math.sin(seed * 1000 + at * 12.9898));
}

function expectClose(what: string, got: ArrayLike<number>, expected: ArrayLike<number>): void {
  if (got.length !== expected.length) {
    throw new Error(`${what}: ${got.length} numbers instead of ${expected.length}`);
  }
  let largest = 0, error = 0;
  for (let at = 0; at < got.length; at++) {
    largest = Math.max(largest, Math.abs(expected[at]));
    error = Math.max(error, Math.abs(got[at] - expected[at])); // NaN stays.
  }
  if (!(error <= tolerance * largest)) {
    throw new Error(`${what}: wrong by ${error}, the largest number being ${largest}`);
  }
}

const shape = [2, 100, 64], options = { causal: true, lse: true } as const;
const [q, k, v, dOut] = [1, 2, 3, 4].map((seed) => tensor(numbers(2 * 100 * 64, seed), shape));
const expected = referenceAttention(q, k, v, options);

const { out, lse } = await attention(q, k, v, options);
expectClose("attention()", out.data, expected.out.data);
expectClose("its lse", lse.data, expected.lse.data);

const { backward } = await attentionWithGradient(q, k, v, { causal: true });
const gradients = await backward(dOut);
const wanted = referenceAttentionBackward(dOut, q, k, v, { causal: true });
for (const name of ["dq", "dk", "dv"] as const) {
  expectClose(`attentionWithGradient(): ${name}`, gradients[name].data, wanted[name].data);
}

const scores = tensor(numbers(300 * 1000, 6), [300, 1000]);
expectClose("softmax()", (await softmax(scores)).out.data, referenceSoftmax(scores).out.data);

const engine = await createEngine({ backend: "wasm", threads: 2 });

const cache = engine.kvCache({ kvHeads: 2, headDim: 64 });
cache.append(k, v);
expectClose("a KV cache", (await cache.attend(q, { causal: true })).out.data, expected.out.data);

const long = tensor(numbers(8 * 512 * 64, 5), [8, 512, 64]); // Enough work that a worker is woken.
const alone = await createEngine({ backend: "wasm", threads: 1 });
const one = await alone.attention(long, long, long), two = await engine.attention(long, long, long);
if (two.out.data.some((x, at) => x !== one.out.data[at])) {
  throw new Error("Two threads: other bits than of one");
}
await alone.close();

/** What runs this program, and its version. */
function runtime(): [name: string, version: string] {
  const { Deno, Bun, process } = globalThis as {
    Deno?: { version: { deno: string } };
    Bun?: { version: string };
    process?: { versions: { node: string } };
  };
  if (Deno) return ["Deno", Deno.version.deno];
  return Bun ? ["Bun", Bun.version] : ["Node", process!.versions.node];
}

const { wasm, threads, webgpu } = await capabilities();
const [name, version] = runtime();
console.log(JSON.stringify({
  runtime: name,
  version,
  binary: wasm.binary,
  threads,
  webgpu,
  reason: engine.reason, // The engine stays open: nothing of it must keep the process alive.
}));
