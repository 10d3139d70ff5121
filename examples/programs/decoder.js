/**
 * A chat with a Llama of layers: conversations of different lengths go on in one batch, each with its
 * tokens in a cache. `loadDecoder()` of the subpath `models` does as much with any architecture it
 * knows.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { createEngine, ropeOptions, tensor } from "@flashtile/attention";
import { argmax, embedding, gated, linear, packLinear, rmsNorm } from "@flashtile/attention/nn";

const newline = 10; // ends an answer; a token is a byte

/** A safetensors file of f16: what gives a tensor by its name. */
async function openWeights(path) {
  const { buffer } = new Uint8Array(await readFile(path));
  const begin = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, begin - 8)));
  return (name) => {
    const { shape, data_offsets: [from, to] } = head[`${name}.weight`];
    return tensor(new Uint16Array(buffer, begin + from, (to - from) / 2), shape, "f16");
  };
}

/** Opens the files of a Llama for so many conversations. */
export async function openChat(folder, conversations) {
  const config = JSON.parse(await readFile(new URL("config.json", folder), "utf8"));
  const weight = await openWeights(new URL("model.safetensors", folder));
  const { num_hidden_layers: depth, head_dim: headDim, rms_norm_eps: eps } = config;
  const engine = await createEngine({ backend: "wasm" });
  const pack = (name) => packLinear(weight(name), { engine });
  const layers = await Promise.all(Array.from({ length: depth }, async (_, at) => {
    const name = `model.layers.${at}.`;
    const projection = (part) => pack(`${name}self_attn.${part}_proj`);
    const matrix = (part) => pack(`${name}mlp.${part}_proj`);
    return {
      norms: ["input", "post_attention"].map((part) => weight(`${name}${part}_layernorm`)),
      qkv: await Promise.all(["q", "k", "v"].map(projection)),
      output: await projection("o"),
      mlp: await Promise.all(["gate", "up", "down"].map(matrix)),
    };
  }));
  const table = await pack("model.embed_tokens"), lastNorm = weight("model.norm");
  const cache = engine.kvCache({
    ...{ layers: depth, batch: conversations, kvHeads: config.num_key_value_heads, headDim },
  });
  const attending = { causal: true, layout: "bnhd", rope: ropeOptions(config) };

  /** Reads tokens of some conversations; gives the likeliest next one of each. */
  async function read(tokens, sequences) {
    const cuSeqlens = [0];
    for (const { length } of tokens) cuSeqlens.push(cuSeqlens.at(-1) + length);
    const rows = cuSeqlens.at(-1), options = { ...attending, sequences, cuSeqlens };
    const norm = async (x, gain) => (await rmsNorm(x, gain, { eps, engine })).out;
    const times = async (x, matrix, more) => (await linear(x, matrix, { engine, ...more })).out;

    let { out: x } = await embedding(tokens.flat(), table, { engine });
    for (const [at, { norms, qkv, output, mlp: [gate, up, down] }] of layers.entries()) {
      const normed = await norm(x, norms[0]);
      const [q, k, v] = await Promise.all(qkv.map(async (matrix) => {
        const { data, shape: [, width] } = await times(normed, matrix);
        return tensor(data, [1, rows, width / headDim, headDim]);
      }));
      const { out: attended } = await cache.step(at, q, k, v, options);
      x = await times(tensor(attended.data, x.shape), output, { residual: x });

      const wide = await norm(x, norms[1]),
        sides = [await times(wide, gate), await times(wide, up)];
      x = await times((await gated(...sides, { engine })).out, down, { residual: x });
    }
    // The last row of each.
    const { out: last } = await embedding(cuSeqlens.slice(1).map((end) => end - 1), x, { engine });
    return await argmax(await times(await norm(last, lastNorm), table));
  }

  const unread = Array.from({ length: conversations }, () => []);

  /** Answers those of whom there is a text, up to a line's end or so many tokens. */
  async function say(texts, { maxTokens = 24 } = {}) {
    const answers = texts.map(() => []);
    let speakers = [...texts.keys()].filter((at) => texts[at] !== null);
    for (const at of speakers) unread[at].push(...new TextEncoder().encode(texts[at]));
    while (speakers.length > 0) {
      const next = await read(speakers.map((at) => unread[at]), speakers);
      for (const [row, at] of speakers.entries()) {
        unread[at] = [next[row]];
        answers[at].push(next[row]);
      }
      speakers = speakers.filter((at) =>
        unread[at][0] !== newline && answers[at].length < maxTokens
      );
    }
    return answers.map((answer) => new TextDecoder().decode(Uint8Array.from(answer)));
  }

  return { say, cache, close: () => engine.close() };
}

const chat = await openChat(new URL("../llama/model/", import.meta.url), 3);
console.log(await chat.say(["And it came to pass", "In the beginning", null]));
console.log(await chat.say([null, "And", "The"], { maxTokens: 12 }));
await chat.close();
