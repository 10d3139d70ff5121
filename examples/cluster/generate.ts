/**
 * `deno task cluster:generate "In the beginning"`: a small Llama whose keys and values are on the shards.
 *
 * @module
 */

import "../../tools/help.ts";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { loadDecoder } from "@flashtile/attention/models";
import { shardedCache } from "@flashtile/attention/sharded";
import { connect } from "@nats-io/transport-node";
import { credentials, groups, prefix, replicas, servers } from "./options.ts";

const folder = new URL("../llama/model/", import.meta.url);
const read = async (name: string) => new Uint8Array(await readFile(new URL(name, folder)));
const config = JSON.parse(new TextDecoder().decode(await read("config.json")));
const decoder = await loadDecoder({ config, weights: await read("model.safetensors") });

const connection = await connect({ servers, ...credentials });
const cache = await shardedCache({
  ...{ connection, prefix, groups, replicas, pageSize: 16 },
  layers: config.num_hidden_layers,
  kvHeads: config.num_key_value_heads,
  headDim: config.head_dim,
});
await cache.free(); // Whatever was generated before.

const session = decoder.session({ cache }), prompt = process.argv[2] ?? "In the beginning";
const ids = [...new TextEncoder().encode(prompt)], text = new TextDecoder();
process.stdout.write(prompt);
const started = performance.now();
for (let token = 0; token < 150; token++) {
  const logits = await session.prefill(ids.slice(session.lengths[0]));
  ids.push(logits.indexOf(Math.max(...logits)));
  process.stdout.write(text.decode(Uint8Array.of(ids[ids.length - 1]), { stream: true }));
}
const seconds = (performance.now() - started) / 1000,
  { messagesOut, bytesOut, bytesIn } = cache.traffic;
console.log(
  `\n\n150 tokens in ${seconds.toFixed(2)} s, on ${cache.shards.length} shards: ` +
    `${messagesOut} messages with ${bytesOut} bytes, answers with ${bytesIn}`,
);
await cache.close();
decoder.free();
await connection.close();
