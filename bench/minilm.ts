/**
 * all-MiniLM-L6-v2 for the benches: a BERT in plain JavaScript around `attention()`, which turns texts into embeddings.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { linear, type Matrix } from "../examples/llama/linear.ts";
import { parseSafetensors, toFloat32 } from "../examples/llama/safetensors.ts";
import { type Engine, type Precision, tensor } from "../mod.ts";

/** What `config.json` says of the sizes. */
interface Config {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly num_hidden_layers: number;
  readonly layer_norm_eps: number;
}

/** A text as its tokens, and the embedding that another implementation gives it. */
export interface Text {
  readonly ids: readonly number[];
  readonly embedding: readonly number[];
}

interface Linear {
  readonly weight: Matrix;
  readonly bias: Float32Array;
}

interface Norm {
  readonly weight: Float32Array;
  readonly bias: Float32Array;
}

interface Layer {
  readonly query: Linear;
  readonly key: Linear;
  readonly value: Linear;
  readonly output: Linear;
  readonly outputNorm: Norm;
  readonly up: Linear;
  readonly down: Linear;
  readonly downNorm: Norm;
}

interface Weights {
  readonly words: Float32Array;
  readonly positions: Float32Array;
  readonly type: Float32Array;
  readonly norm: Norm;
  readonly layers: readonly Layer[];
}

/** Reads the tensors of a file by their names. */
function takeWeights(file: Uint8Array, path: string, layers: number): Weights {
  const tensors = parseSafetensors(file, path);
  const find = (name: string) => {
    const found = tensors.get(name);
    if (found === undefined) throw new Error(`Cannot read ${path}: it has no tensor \`${name}\``);
    return found;
  };
  const get = (name: string) => toFloat32(find(name));
  const norm = (name: string): Norm => ({
    weight: get(`${name}.weight`),
    bias: get(`${name}.bias`),
  });
  const dense = (name: string): Linear => {
    const [outputs, inputs] = find(`${name}.weight`).shape, { weight: data, bias } = norm(name);
    return { weight: { data, outputs, inputs }, bias };
  };
  const layerAt = (name: string): Layer => ({
    query: dense(`${name}.attention.self.query`),
    key: dense(`${name}.attention.self.key`),
    value: dense(`${name}.attention.self.value`),
    output: dense(`${name}.attention.output.dense`),
    outputNorm: norm(`${name}.attention.output.LayerNorm`),
    up: dense(`${name}.intermediate.dense`),
    down: dense(`${name}.output.dense`),
    downNorm: norm(`${name}.output.LayerNorm`),
  });
  return {
    words: get("embeddings.word_embeddings.weight"),
    positions: get("embeddings.position_embeddings.weight"),
    type: get("embeddings.token_type_embeddings.weight"),
    norm: norm("embeddings.LayerNorm"),
    layers: Array.from({ length: layers }, (_, at) => layerAt(`encoder.layer.${at}`)),
  };
}

/** `x W^T + bias`, and what is added to that. */
function project(x: Float32Array, { weight, bias }: Linear, residual?: Float32Array): Float32Array {
  const { outputs, inputs } = weight, rows = x.length / inputs;
  const y = new Float32Array(rows * outputs);
  linear(x, rows, weight, y);
  return y.map((sum, at) => sum + bias[at % outputs] + (residual?.[at] ?? 0));
}

/** Normalises every row in place, by its mean and variance. */
function layerNorm(x: Float32Array, { weight, bias }: Norm, epsilon: number): Float32Array {
  const width = weight.length;
  for (let at = 0; at < x.length; at += width) {
    const row = x.subarray(at, at + width);
    const mean = row.reduce((sum, a) => sum + a, 0) / width;
    const variance = row.reduce((sum, a) => sum + (a - mean) ** 2, 0) / width;
    const factor = 1 / Math.sqrt(variance + epsilon);
    for (let i = 0; i < width; i++) row[i] = (row[i] - mean) * factor * weight[i] + bias[i];
  }
  return x;
}

/** The error function by its series of positive terms, which loses nothing to cancellation. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * x, sum = term;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= 2 * x * x / (2 * n + 1);
    sum += term;
  }
  return sum;
}

function gelu(x: Float32Array): Float32Array {
  return x.map((a) => a / 2 * (1 + erf(a / Math.SQRT2)));
}

/** The mean of a text's rows, divided by its length. */
function poolRows(x: Float32Array, width: number): Float64Array {
  const mean = new Float64Array(width);
  x.forEach((a, at) => mean[at % width] += a);
  const length = Math.hypot(...mean);
  return mean.map((a) => a / length);
}

/** The model. */
export class MiniLm {
  readonly #config: Config;
  readonly #weights: Weights;
  readonly #engine: Engine;

  constructor(config: Config, weights: Weights, engine: Engine) {
    this.#config = config;
    this.#weights = weights;
    this.#engine = engine;
  }

  /** Embeddings of texts; their attention in one call of packed sequences a layer. */
  async embed(texts: readonly Text[], precision: Precision): Promise<Float64Array[]> {
    const { hidden_size: width, layer_norm_eps: epsilon } = this.#config;
    const ends = [0];
    for (const { ids } of texts) ends.push(ends.at(-1)! + ids.length);
    let x = layerNorm(this.#lookUp(texts), this.#weights.norm, epsilon);
    for (const layer of this.#weights.layers) {
      const attended = await this.#attend(x, layer, ends, precision);
      const h = layerNorm(project(attended, layer.output, x), layer.outputNorm, epsilon);
      const wide = gelu(project(h, layer.up));
      x = layerNorm(project(wide, layer.down, h), layer.downNorm, epsilon);
    }
    return texts.map((_, at) =>
      poolRows(x.subarray(ends[at] * width, ends[at + 1] * width), width)
    );
  }

  /** A token's row is the sum of those of its word, its position and the one type that there is. */
  #lookUp(texts: readonly Text[]): Float32Array {
    const { words, positions, type } = this.#weights, width = this.#config.hidden_size;
    return Float32Array.from(texts.flatMap(({ ids }) =>
      ids.flatMap((id, position) =>
        Array.from(
          { length: width },
          (_, i) => words[id * width + i] + positions[position * width + i] + type[i],
        )
      )
    ));
  }

  async #attend(
    x: Float32Array,
    { query, key, value }: Layer,
    ends: readonly number[],
    precision: Precision,
  ): Promise<Float32Array> {
    const { hidden_size: width, num_attention_heads: heads } = this.#config;
    const shape = [1, x.length / width, heads, width / heads];
    const [q, k, v] = [query, key, value].map((each) => tensor(project(x, each), shape));
    const options = { layout: "bnhd", cuSeqlens: ends, precision } as const;
    return (await this.#engine.attention(q, k, v, options)).out.data as Float32Array;
  }
}

/** Reads the model and the texts of a folder. */
export async function loadMiniLm(
  folder: string,
  engine: Engine,
): Promise<{ model: MiniLm; texts: readonly Text[] }> {
  const read = async (name: string) => JSON.parse(await readFile(join(folder, name), "utf8"));
  const config: Config = await read("config.json"), path = join(folder, "model.safetensors");
  const weights = takeWeights(await readFile(path), path, config.num_hidden_layers);
  return {
    model: new MiniLm(config, weights, engine),
    texts: (await read("embeddings.json")).texts,
  };
}
