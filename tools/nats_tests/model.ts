/**
 * The demo's model: its tokens on one machine, and with its keys and values on others.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { type Decoder, loadDecoder } from "@flashtile/attention/models";
import { once } from "../../tests/support/once.ts";

/** Numbers of a cache that the demo's model needs. */
export async function modelSizes() {
  const config = JSON.parse(await readFile("examples/llama/model/config.json", "utf8"));
  return {
    layers: config.num_hidden_layers as number,
    kvHeads: config.num_key_value_heads as number,
    headDim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
  };
}

/** Options of a cache of it, with pages so small that all groups have some. */
export async function modelOptions() {
  return { ...await modelSizes(), batch: 1, valueDim: undefined, pageSize: 16 };
}

/** The demo's model. */
export async function loadModel(): Promise<Decoder> {
  const folder = "examples/llama/model/";
  const config = JSON.parse(await readFile(`${folder}config.json`, "utf8"));
  return await loadDecoder({
    config,
    weights: new Uint8Array(await readFile(`${folder}model.safetensors`)),
  });
}

/** The likeliest token. */
export function likeliest(logits: Float32Array): number {
  return logits.indexOf(Math.max(...logits));
}

/** What a session can be asked here. */
export interface Prefilling {
  readonly lengths: readonly number[];
  prefill(ids: readonly number[]): Promise<Float32Array>;
}

/** Ids of a prompt: its bytes. */
export const promptIds: readonly number[] = [
  ...new TextEncoder().encode(
    "In the beginning God created the heaven and the earth. And the earth",
  ),
];

/**
 * Goes on with a text until it has so many tokens, from wherever the session is.
 *
 * @param ids The text so far; what is chosen is added.
 */
export async function goOn(
  session: Prefilling,
  ids: number[],
  until: number,
  told: (logits: Float32Array, at: number) => void = () => {},
): Promise<void> {
  while (ids.length < until) {
    const logits = await session.prefill(ids.slice(session.lengths[0]));
    told(logits, ids.length);
    ids.push(likeliest(logits));
  }
}

/** How many tokens tests go on to. */
export const until = 200;

/** What one machine says: tokens, and the logits before each. */
export const alone = once(async () => {
  const decoder = await loadModel(), session = decoder.session(), ids = [...promptIds];
  const logits: Float32Array[] = [];
  await goOn(session, ids, until, (given) => logits.push(given));
  decoder.free();
  return { ids, logits };
});
