/**
 * `deno task bench:perplexity`: what each storage of a KV cache costs the demo's model on text that it
 * was not trained on. Token by token, so that keys and values are read as decoding reads them, and in
 * chunks of 64, as a long prompt does. The last column is by how much the loss of a byte changes: of
 * the mean, what is gained on one byte cancels what is lost on another.
 *
 * @module
 */

import { losses, mean } from "../examples/llama/loss.ts";
import { createEngine } from "../mod.ts";
import { heldOutText, loadLlama } from "./llama.ts";
import { nameOf, storages } from "./storages.ts";

await using engine = await createEngine({ backend: "wasm" });
const model = await loadLlama(engine), text = await heldOutText();
for (const chunk of [1, 64]) {
  console.log(
    `\n| chunks of ${chunk} | nats per byte | perplexity | change of a byte's loss, rms |`,
  );
  let exact: Float64Array | undefined;
  for (const storage of storages) {
    const all = await losses(model, text, { chunk, ...storage });
    exact ??= all;
    const change = Math.sqrt(mean(all.map((loss, at) => (loss - exact![at]) ** 2)));
    const loss = mean(all), perplexity = Math.exp(loss);
    const columns = [loss.toFixed(5), perplexity.toFixed(4), change.toExponential(1)];
    console.log(`| ${[nameOf(storage), ...columns].join(" | ")} |`);
  }
}
