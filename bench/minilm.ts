/**
 * all-MiniLM-L6-v2 for the benches, written on the functions of `nn`: what changes from run to run is the precision of
 * attention alone, which models do not offer.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Engine, Precision, Tensor } from "../mod.ts";
import {
  add,
  embedding,
  layerNorm,
  linear,
  type LinearOptions,
  meanRows,
  type PackedLinear,
} from "../src/nn/mod.ts";
import { type Linear, type Norm, Weights } from "./weights.ts";

/** What `config.json` says of the sizes. */
interface Config {
  readonly num_attention_heads: number;
  readonly num_hidden_layers: number;
  readonly layer_norm_eps: number;
}

/** A text as its tokens, and the embedding that another implementation gives it. */
export interface Text {
  readonly ids: readonly number[];
  readonly embedding: readonly number[];
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

/** Tables of rows. */
interface Tables {
  readonly words: PackedLinear;
  readonly positions: PackedLinear;
  /** Of the one kind of token that there is. */
  readonly types: PackedLinear;
  readonly norm: Norm;
}

/** Rows of numbers. */
type Rows = Tensor<Float32Array>;

/** The model. */
export class MiniLm {
  readonly #config: Config;
  readonly #engine: Engine;
  readonly #tables: Tables;
  readonly #layers: readonly Layer[];

  private constructor(config: Config, engine: Engine, tables: Tables, layers: readonly Layer[]) {
    this.#config = config;
    this.#engine = engine;
    this.#tables = tables;
    this.#layers = layers;
  }

  /** Reads the model of a folder. */
  static async load(folder: string, engine: Engine): Promise<MiniLm> {
    const config: Config = JSON.parse(await readFile(join(folder, "config.json"), "utf8"));
    const weights = await Weights.open(join(folder, "model.safetensors"), engine);
    const tables = {
      words: await weights.matrix("embeddings.word_embeddings"),
      positions: await weights.matrix("embeddings.position_embeddings"),
      types: await weights.matrix("embeddings.token_type_embeddings"),
      norm: await weights.norm("embeddings.LayerNorm"),
    };
    const layers: Layer[] = [];
    for (let at = 0; at < config.num_hidden_layers; at++) {
      layers.push(await readLayer(weights, `encoder.layer.${at}`));
    }
    return new MiniLm(config, engine, tables, layers);
  }

  /** Embeddings of texts, packed: the means of their states, whatever their lengths. */
  async embed(texts: readonly Text[], precision: Precision): Promise<Float32Array[]> {
    const ends = [0];
    for (const { ids } of texts) ends.push(ends.at(-1)! + ids.length);
    let x = await this.#lookUp(texts);
    for (const layer of this.#layers) {
      const attended = await this.#attend(x, layer, ends, precision);
      const output = await this.#project(attended, layer.output, { residual: x });
      const h = await this.#normed(output, layer.outputNorm);
      const wide = await this.#project(h, layer.up, { activation: "gelu" });
      const down = await this.#project(wide, layer.down, { residual: h });
      x = await this.#normed(down, layer.downNorm);
    }
    const { data, shape: [, width] } = (await meanRows(x, ends, { engine: this.#engine })).out;
    return texts.map((_, at) => data.slice(at * width, (at + 1) * width));
  }

  /** A token's row is the sum of those of its word, its position and its kind. */
  async #lookUp(texts: readonly Text[]): Promise<Rows> {
    const ids = texts.flatMap(({ ids }) => ids), options = { engine: this.#engine };
    const positions = texts.flatMap(({ ids }) => [...ids.keys()]);
    const { words, positions: places, types, norm } = this.#tables;
    const rows = async (ids: readonly number[], table: PackedLinear) =>
      (await embedding(ids, table)).out;
    const both = await add(await rows(ids, words), await rows(positions, places), options);
    const kinds = await rows(ids.map(() => 0), types);
    return await this.#normed((await add(both.out, kinds, options)).out, norm);
  }

  async #normed(x: Rows, { weight, bias }: Norm): Promise<Rows> {
    const options = { engine: this.#engine, eps: this.#config.layer_norm_eps };
    return (await layerNorm(x, weight, bias, options)).out;
  }

  async #project(x: Rows, { weight, bias }: Linear, options: LinearOptions = {}): Promise<Rows> {
    return (await linear(x, weight, { ...options, out: undefined, bias })).out;
  }

  async #attend(
    x: Rows,
    { query, key, value }: Layer,
    cuSeqlens: readonly number[],
    precision: Precision,
  ): Promise<Rows> {
    const heads = this.#config.num_attention_heads, [rows, width] = x.shape;
    const made = async (layer: Linear) => {
      const { data } = await this.#project(x, layer);
      return { data, shape: [1, rows, heads, width / heads] };
    };
    const [q, k, v] = [await made(query), await made(key), await made(value)];
    const options = { layout: "bnhd", cuSeqlens, precision } as const;
    return { data: (await this.#engine.attention(q, k, v, options)).out.data, shape: x.shape };
  }
}

async function readLayer(weights: Weights, prefix: string): Promise<Layer> {
  const linear = (name: string) => weights.linear(`${prefix}.${name}`);
  return {
    query: await linear("attention.self.query"),
    key: await linear("attention.self.key"),
    value: await linear("attention.self.value"),
    output: await linear("attention.output.dense"),
    outputNorm: await weights.norm(`${prefix}.attention.output.LayerNorm`),
    up: await linear("intermediate.dense"),
    down: await linear("output.dense"),
    downNorm: await weights.norm(`${prefix}.output.LayerNorm`),
  };
}

/** Reads the texts of a folder. */
export async function readTexts(folder: string): Promise<readonly Text[]> {
  return JSON.parse(await readFile(join(folder, "embeddings.json"), "utf8")).texts;
}
