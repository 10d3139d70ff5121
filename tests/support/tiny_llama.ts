/**
 * The demo's model, written anew in a few lines on the caches of any engine: for tests of what caches can do.
 *
 * @module
 */

import type { Engine, KvCache, NumberList, Tensor } from "@flashtile/attention";
import { readFile } from "node:fs/promises";
import { openWeights } from "../../src/models/files/open.ts";
import { widened } from "../../src/models/files/widen.ts";

const folder = "examples/llama/model";

/** Sizes of the model. */
const model = {
  width: 192,
  inner: 512,
  heads: 6,
  kvHeads: 2,
  headDim: 32,
  vocabulary: 256,
  layers: 4,
};

/** Rows `[count, columns]`. */
type Rows = Float32Array;

/** Weights by name, `[outputs, inputs]`. */
type Weights = ReadonlyMap<string, Float32Array>;

/** Reads the model's weights. */
export async function readTinyLlama(): Promise<Weights> {
  const file = await openWeights(await readFile(`${folder}/model.safetensors`));
  const weights = new Map<string, Float32Array>();
  for (const name of file.entries.keys()) {
    weights.set(name.replace(/^model\./, ""), widened(await file.read(name)));
  }
  return weights;
}

/** The model's text that it was not trained with. */
export async function readHeldOut(): Promise<Uint8Array> {
  return new Uint8Array(await readFile(`${folder}/held_out_text.txt`));
}

function linear(x: Rows, weight: Float32Array, inputs: number): Rows {
  const outputs = weight.length / inputs, count = x.length / inputs;
  const y = new Float32Array(count * outputs);
  for (let row = 0; row < count; row++) {
    for (let o = 0; o < outputs; o++) {
      let sum = 0;
      for (let i = 0; i < inputs; i++) sum += x[row * inputs + i] * weight[o * inputs + i];
      y[row * outputs + o] = sum;
    }
  }
  return y;
}

function norm(x: Rows, weight: Float32Array): Rows {
  const y = x.slice(), { length } = weight;
  for (let from = 0; from < y.length; from += length) {
    const row = y.subarray(from, from + length);
    const scale = 1 / Math.sqrt(row.reduce((sum, one) => sum + one * one, 0) / length + 1e-5);
    row.forEach((one, at) => row[at] = one * scale * weight[at]);
  }
  return y;
}

function add(x: Rows, y: Rows): Rows {
  return x.map((one, at) => one + y[at]);
}

/** The model with a cache for each layer, of one sequence. */
export class TinyLlama {
  readonly caches: readonly KvCache[];
  /** Passes so far. */
  calls = 0;
  readonly #weights: Weights;

  constructor(engine: Engine, weights: Weights) {
    const { kvHeads, headDim, layers } = model;
    this.#weights = weights;
    this.caches = Array.from(
      { length: layers },
      () => engine.kvCache({ kvHeads, headDim, pageSize: 16 }),
    );
  }

  /**
   * Reads tokens that follow on those before.
   *
   * @param parents Where they are a tree, what each follows on.
   * @returns The likeliest token after each.
   */
  async read(tokens: Uint8Array, parents?: NumberList): Promise<number[]> {
    const { width, layers, vocabulary } = model, embedding = this.#of("embed_tokens");
    this.calls++;
    let x = new Float32Array(tokens.length * width);
    tokens.forEach((token, row) =>
      x.set(embedding.subarray(token * width, (token + 1) * width), row * width)
    );
    for (let layer = 0; layer < layers; layer++) {
      x = await this.#layer(x, layer, parents) as typeof x;
    }
    const logits = linear(norm(x, this.#of("norm")), embedding, width);
    return Array.from(tokens, (_, row) => {
      const ofRow = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
      return ofRow.indexOf(Math.max(...ofRow));
    });
  }

  async #layer(x: Rows, layer: number, parents?: NumberList): Promise<Rows> {
    const { width, inner, heads, kvHeads, headDim } = model,
      own = (name: string) => this.#of(`layers.${layer}.${name}`);
    const rows = norm(x, own("input_layernorm")), n = x.length / width;
    const project = (name: string, count: number): Tensor => ({
      data: linear(rows, own(`self_attn.${name}_proj`), width),
      shape: [1, n, count, headDim],
    });
    const { out } = await this.caches[layer].step(
      ...[project("q", heads), project("k", kvHeads), project("v", kvHeads)] as const,
      { causal: true, parents, layout: "bnhd", rope: { theta: 10_000 } },
    );
    const after = add(x, linear(out.data, own("self_attn.o_proj"), heads * headDim));
    const wide = norm(after, own("post_attention_layernorm"));
    const gate = linear(wide, own("mlp.gate_proj"), width),
      up = linear(wide, own("mlp.up_proj"), width);
    const both = gate.map((one, at) => one / (1 + Math.exp(-one)) * up[at]);
    return add(after, linear(both, own("mlp.down_proj"), inner));
  }

  #of(name: string): Float32Array {
    return this.#weights.get(`${name}.weight`)!;
  }
}
