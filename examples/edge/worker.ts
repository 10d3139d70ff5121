/**
 * The worker: texts as vectors over HTTP, by the small Llama of the demo, for workerd and what is like it.
 *
 * @module
 */

import config from "../llama/model/config.json" with { type: "json" };
// @ts-ignore: a module of data beside the script, or bytes within it, as it is bundled.
import file from "../llama/model/model.safetensors";
import { Embedder } from "./embedder.ts";
import { handlerOf } from "./handler.ts";

/** A token is a byte. */
const tokenizer = {
  encode: (text: string) => new TextEncoder().encode(text),
  decode: (ids: number[]) => new TextDecoder().decode(Uint8Array.from(ids)),
};

// All of this while the worker starts, and before a request is there to wait for it.
const embedder = await Embedder.load({
  name: "examples/llama",
  source: { config, weights: new Uint8Array(file), tokenizer },
  maxMemoryBytes: 16 * 2 ** 20,
});

export default handlerOf(embedder);
