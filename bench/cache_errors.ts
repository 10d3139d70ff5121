/**
 * `deno task bench:cache-errors`: what each storage of a KV cache does to the result, against the oracle.
 *
 * @module
 */

import { type CacheDType, createEngine, type Tensor } from "../mod.ts";
import { referenceAttention } from "../src/reference.ts";
import { normals, seeded } from "../tests/support/random.ts";

const D = 64, tokens = 512, queries = 256;
const random = seeded(1);
const make = (rows: number): Tensor => ({
  data: normals(rows * D, random),
  shape: [1, 1, rows, D],
});
const [q, k, v] = [make(queries), make(tokens), make(tokens)];
const exact = referenceAttention(q, k, v).out.data;
console.log(
  `rms of the result ${Math.sqrt(exact.reduce((sum, x) => sum + x * x, 0) / exact.length)}`,
);

const engine = await createEngine({ backend: "wasm" });
for (const dtype of ["f32", "f16", "bf16", "int8"] satisfies CacheDType[]) {
  const cache = engine.kvCache({ kvHeads: 1, headDim: D, dtype });
  cache.append(k, v);
  const figures = [1, 16].map((rows) => {
    let largest = 0, sum = 0;
    for (let from = 0; from < queries; from += rows) {
      const part = { data: q.data.subarray(from * D, (from + rows) * D), shape: [1, 1, rows, D] };
      const { data } = cache.attendSync(part).out;
      for (const [at, x] of data.entries()) {
        const error = Math.abs(x - exact[from * D + at]);
        largest = Math.max(largest, error);
        sum += error;
      }
    }
    return `${largest.toExponential(1)} | ${(sum / exact.length).toExponential(1)}`;
  });
  console.log(`| ${dtype} | ${figures.join(" | ")} |`);
  cache.free();
}
await engine.close();
