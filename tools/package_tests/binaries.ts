/**
 * A user's program that compiles the package's binaries by itself.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { createEngine, tensor } from "@flashtile/attention";

const ones = tensor(new Float32Array(2 * 100 * 64).fill(1), [2, 100, 64]);

for (const name of ["simd", "relaxed"]) {
  const bytes = await readFile(new URL(import.meta.resolve(`@flashtile/attention/${name}.wasm`)));
  const engine = await createEngine({ module: await WebAssembly.compile(bytes) });
  const { out } = await engine.attention(ones, ones, ones);
  if (!out.data.every((x) => Math.abs(x - 1) <= 2e-6)) {
    throw new Error(`${name}.wasm: a mean of ones is not 1`);
  }
}
