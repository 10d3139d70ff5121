/**
 * The worker: texts as vectors over HTTP, for workerd and what is like it.
 *
 * @module
 */

import { createEngine } from "@flashtile/attention";
import { parseConfig } from "../llama/config.ts";
import sizes from "../llama/model/config.json" with { type: "json" };
// @ts-ignore: a module of data beside the script, or bytes within it, as it is bundled.
import file from "../llama/model/model.safetensors";
import { parseSafetensors } from "../llama/safetensors.ts";
import { takeWeights } from "../llama/weights.ts";
import { Embedder } from "./embedder.ts";
import { Service } from "./service.ts";

/** Far more than texts of this length take; a worker has 128 MB for everything. */
const maxMemoryBytes = 32 * 2 ** 20;

/** What workerd passes to a handler, as far as it is used. */
interface Context {
  waitUntil(promise: Promise<unknown>): void;
}

const config = parseConfig(JSON.stringify(sizes), "config.json");
const tensors = parseSafetensors(new Uint8Array(file), "model.safetensors");
const weights = takeWeights(tensors, config, "model.safetensors");
// All of this while the worker starts, and before a request is there to wait for it.
const engine = await createEngine({ backend: "wasm", maxMemoryBytes });
const embedder = new Embedder(config, weights, engine);
// The first request finds the arithmetic compiled: a third of its time.
await embedder.embed(new TextEncoder().encode("Hello"));
const service = new Service(embedder);

export default {
  fetch(request: Request, _bindings: unknown, context: Context): Promise<Response> {
    const answer = service.answer(request);
    // To its end though the client is gone: what was lent to it comes back.
    context.waitUntil(answer);
    return answer;
  },
};
