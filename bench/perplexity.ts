/**
 * `deno task bench:perplexity`: what each storage of a KV cache, and each level of `precision`, costs the demo's model
 * on text that it was not trained on. A prompt of 64 bytes at once, as smooth keys want it, then either token by token,
 * so that keys and values are read as decoding reads them, or in further chunks of 64, for which alone
 * there are levels of precision. The last column is by how much the loss of a byte changes: of the mean, what is gained on one byte cancels what is
 * lost on another.
 *
 * @module
 */

import "../tools/help.ts";
import { lossOf, mean, windowsOf } from "../examples/llama/loss.ts";
import { createEngine, type Precision } from "../mod.ts";
import { heldOutText, Llama, type ReadOptions } from "./llama.ts";
import { precisions } from "./precisions.ts";
import { byPrecision, nameOf, storages, type StoredAs } from "./storages.ts";

/** Bytes that are read first. */
const prompt = 64;

/** A line of a table. */
interface Entry extends StoredAs {
  readonly precision: Precision;
}

await using engine = await createEngine({ backend: "wasm" });
const model = await Llama.load(engine), windows = windowsOf(await heldOutText(), model.context);

/** The loss of every token of the windows. */
async function losses(options: ReadOptions): Promise<Float64Array> {
  const logits = await model.read(windows.map(({ tokens }) => tokens), options);
  return Float64Array.from(windows.flatMap(({ next }, at) => [...lossOf(logits[at], next)]));
}

/** What entries cost, each beside the first. */
async function compare(chunk: number, entries: readonly Entry[]): Promise<void> {
  console.log(
    `\n| ${prompt}, then ${chunk} at a time | precision | nats per byte | perplexity | ` +
      "change of a byte's loss, rms |",
  );
  let exact: Float64Array | undefined;
  for (const { precision, ...storage } of entries) {
    const all = await losses({ chunk, prompt, precision, ...storage });
    exact ??= all;
    const change = Math.sqrt(mean(all.map((loss, at) => (loss - exact![at]) ** 2)));
    const loss = mean(all), perplexity = Math.exp(loss);
    const columns = [loss.toFixed(5), perplexity.toFixed(4), change.toExponential(1)];
    console.log(`| ${[nameOf(storage), precision, ...columns].join(" | ")} |`);
  }
}

for (const chunk of [1, 64]) {
  await compare(chunk, storages.map((storage) => ({ ...storage, precision: "f32" })));
}
await compare(
  64,
  byPrecision.flatMap((storage) => precisions.map((precision) => ({ ...storage, precision }))),
);
