/**
 * `deno task bench:perplexity`: what each storage of a KV cache costs the demo's model on text that it
 * was not trained on. A prompt of 64 bytes at once, as smooth keys want it, then either token by token,
 * so that keys and values are read as decoding reads them, or in further chunks of 64. The last column
 * is by how much the loss of a byte changes: of the mean, what is gained on one byte cancels what is
 * lost on another.
 *
 * @module
 */

import { losses, mean } from "../examples/llama/loss.ts";
import { createEngine } from "../mod.ts";
import { heldOutText, loadLlama } from "./llama.ts";
import { nameOf, storages } from "./storages.ts";

/** Bytes that are read first. */
const prompt = 64;

await using engine = await createEngine({ backend: "wasm" });
const model = await loadLlama(engine), text = await heldOutText();
for (const chunk of [1, 64]) {
  console.log(
    `\n| ${prompt}, then ${chunk} at a time | nats per byte | perplexity | change of a byte's loss, rms |`,
  );
  let exact: Float64Array | undefined;
  for (const storage of storages) {
    const all = await losses(model, text, { chunk, prompt, ...storage });
    exact ??= all;
    const change = Math.sqrt(mean(all.map((loss, at) => (loss - exact![at]) ** 2)));
    const loss = mean(all), perplexity = Math.exp(loss);
    const columns = [loss.toFixed(5), perplexity.toFixed(4), change.toExponential(1)];
    console.log(`| ${[nameOf(storage), ...columns].join(" | ")} |`);
  }
}
