/**
 * Prints what an engine got of a system that reserves little memory, or why there is none.
 *
 * @module
 */

import { attention, createEngine, tensor } from "@flashtile/attention";

const x = tensor(new Float32Array(4 * 300 * 64).fill(1), [4, 300, 64]);
try {
  const { out } = await attention(x, x, x);
  const engine = await createEngine({ backend: "wasm" });
  console.log(`${out.data[70]} on ${engine.reason}`);
  await engine.close();
} catch (error) {
  console.log(String(error));
}
