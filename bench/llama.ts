/**
 * The demo's trained model for the benches: real text, and the queries, keys and values that its attention gets from
 * it. It is written on the functions of `nn`, since the benches change what attention is asked, and look at what it is
 * between.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { CacheAttentionOptions, Engine, KvCache, Tensor } from "../mod.ts";
import { embedding, gated, linear, type PackedLinear, rmsNorm } from "../src/nn/mod.ts";
import type { StoredAs } from "./storages.ts";
import { type Norm, Weights } from "./weights.ts";

const folder = fileURLToPath(new URL("../examples/llama/model", import.meta.url));

/** What `config.json` says of the sizes. */
interface Config {
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
}

/** Linear layers of a layer, as the file calls them. */
const names = {
  ...{ query: "self_attn.q_proj", key: "self_attn.k_proj", value: "self_attn.v_proj" },
  ...{ output: "self_attn.o_proj" },
  ...{ gate: "mlp.gate_proj", up: "mlp.up_proj", down: "mlp.down_proj" },
} as const;

/** A layer's weights. */
interface Layer extends Readonly<Record<keyof typeof names, PackedLinear>> {
  readonly attentionNorm: Norm;
  readonly feedNorm: Norm;
}

/** What the attention of a layer is between, each `[B, N, H, D]`. */
export interface Operands {
  readonly q: Tensor<Float32Array>;
  readonly k: Tensor<Float32Array>;
  readonly v: Tensor<Float32Array>;
}

/** How windows are read. */
export interface ReadOptions extends StoredAs {
  /** Tokens of each that are read at once. */
  readonly chunk: number;
  /** Tokens of the first chunk, a prompt; as of the others by default. */
  readonly prompt?: number;
  /** What attention is asked beside. */
  readonly precision?: CacheAttentionOptions["precision"];
  /** Told what the attention of each layer is between. */
  readonly watch?: (operands: Operands) => void;
}

/** Tokens of windows that are read at once. */
interface Chunk extends Pick<ReadOptions, "precision" | "watch"> {
  readonly batch: number;
  readonly positions: Int32Array;
}

/** The model. */
export class Llama {
  readonly #config: Config;
  readonly #engine: Engine;
  readonly #tokens: PackedLinear;
  readonly #layers: readonly Layer[];
  readonly #norm: Norm;

  private constructor(
    config: Config,
    engine: Engine,
    tokens: PackedLinear,
    layers: readonly Layer[],
    norm: Norm,
  ) {
    this.#config = config;
    this.#engine = engine;
    this.#tokens = tokens;
    this.#layers = layers;
    this.#norm = norm;
  }

  /** Reads the model. */
  static async load(engine: Engine): Promise<Llama> {
    const config: Config = JSON.parse(await readFile(`${folder}/config.json`, "utf8"));
    const weights = await Weights.open(`${folder}/model.safetensors`, engine);
    const layers: Layer[] = [];
    for (let at = 0; at < config.num_hidden_layers; at++) {
      layers.push(await readLayer(weights, `model.layers.${at}`));
    }
    const tokens = await weights.matrix("model.embed_tokens");
    return new Llama(config, engine, tokens, layers, await weights.norm("model.norm"));
  }

  /** Longest sequence. */
  get context(): number {
    return this.#config.max_position_embeddings;
  }

  /**
   * Reads windows of one length side by side.
   *
   * @returns The logits after each token, of each window `[tokens, vocabulary]`.
   */
  async read(windows: readonly Uint8Array[], options: ReadOptions): Promise<Float32Array[]> {
    const { chunk, prompt = chunk, dtype, smoothKeys, ...rest } = options;
    const { num_key_value_heads: kvHeads, head_dim: headDim } = this.#config;
    const [{ length }] = windows, batch = windows.length, vocabulary = this.#tokens.outputs;
    const sizes = { batch, kvHeads, headDim, capacity: length, dtype, smoothKeys };
    const caches = this.#layers.map(() => this.#engine.kvCache(sizes));
    const logits = windows.map(() => new Float32Array(length * vocabulary));
    for (let begin = 0, end; begin < length; begin = end) {
      end = Math.min(length, begin + (begin === 0 ? prompt : chunk));
      const tokens = windows.flatMap((window) => [...window.subarray(begin, end)]);
      const rows = end - begin;
      const positions = Int32Array.from(tokens, (_, at) => begin + at % rows);
      const read = await this.#forward(tokens, caches, { batch, positions, ...rest });
      for (const [at, own] of logits.entries()) {
        const part = read.subarray(at * rows * vocabulary, (at + 1) * rows * vocabulary);
        own.set(part, begin * vocabulary);
      }
    }
    for (const cache of caches) cache.free();
    return logits;
  }

  async #forward(
    tokens: readonly number[],
    caches: readonly KvCache[],
    chunk: Chunk,
  ): Promise<Float32Array> {
    let { out: x }: { out: Tensor<Float32Array> } = await embedding(tokens, this.#tokens);
    for (const [at, layer] of this.#layers.entries()) {
      const h = await this.#normed(x, layer.attentionNorm);
      const attended = await this.#attend(h, layer, caches[at], chunk);
      x = (await linear(attended, layer.output, { residual: x })).out;
      x = await this.#feed(x, layer);
    }
    return (await linear(await this.#normed(x, this.#norm), this.#tokens)).out.data;
  }

  async #normed(x: Tensor<Float32Array>, { weight }: Norm): Promise<Tensor<Float32Array>> {
    return (await rmsNorm(x, weight, { engine: this.#engine, eps: this.#config.rms_norm_eps })).out;
  }

  /** Rows of the results of attention's heads, `[B N, Hq D]`. */
  async #attend(
    h: Tensor<Float32Array>,
    { query, key, value }: Layer,
    cache: KvCache,
    { batch, positions, precision, watch }: Chunk,
  ): Promise<Tensor<Float32Array>> {
    const { head_dim: D, rope_theta: theta } = this.#config, layout = "bnhd" as const;
    const made = async (weight: PackedLinear) => {
      const { data, shape: [rows, columns] } = (await linear(h, weight)).out;
      return { data, shape: [batch, rows / batch, columns / D, D] };
    };
    const [q, k, v] = [await made(query), await made(key), await made(value)];
    // Each row by its own position.
    const [packedQ, packedK] = [q, k].map(({ data, shape: [, , heads] }) => ({
      data,
      shape: [1, positions.length, heads, D],
    }));
    await this.#engine.rope(packedQ, packedK, { positions, theta, style: "half", layout });
    watch?.({ q, k, v });
    cache.append(k, v, { layout });
    const { data } = (await cache.attend(q, { causal: true, layout, precision })).out;
    return { data: data as Float32Array, shape: [positions.length, query.outputs] };
  }

  async #feed(
    x: Tensor<Float32Array>,
    { feedNorm, gate, up, down }: Layer,
  ): Promise<Tensor<Float32Array>> {
    const h = await this.#normed(x, feedNorm);
    const opened = (await linear(h, gate)).out, passed = (await linear(h, up)).out;
    const { out } = await gated(opened, passed, { engine: this.#engine, activation: "silu" });
    return (await linear(out, down, { residual: x })).out;
  }
}

async function readLayer(weights: Weights, prefix: string): Promise<Layer> {
  const packed: Partial<Record<keyof typeof names, PackedLinear>> = {};
  for (const [name, path] of Object.entries(names)) {
    packed[name as keyof typeof names] = await weights.matrix(`${prefix}.${path}`);
  }
  return {
    ...packed as Record<keyof typeof names, PackedLinear>,
    attentionNorm: await weights.norm(`${prefix}.input_layernorm`),
    feedNorm: await weights.norm(`${prefix}.post_attention_layernorm`),
  };
}

/** Text that the model was not trained on. */
export async function heldOutText(): Promise<Uint8Array> {
  return new Uint8Array(await readFile(`${folder}/held_out_text.txt`));
}

/**
 * Reads windows of the held-out text, and records what each layer's attention is between.
 *
 * @param engine Runs the model.
 * @param count How many windows, each as long as the model's context.
 */
export async function recordLayers(engine: Engine, count: number): Promise<Operands[]> {
  const layers: Operands[] = [], model = await Llama.load(engine), text = await heldOutText();
  const { context } = model;
  const windows = Array.from(
    { length: count },
    (_, at) => text.subarray(at * context, (at + 1) * context),
  );
  await model.read(windows, { chunk: context, watch: (operands) => void layers.push(operands) });
  return layers;
}
