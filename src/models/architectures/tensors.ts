/**
 * A model's tensors by what they are for: under the names that its architecture has in a file, in the shapes
 * that its sizes ask for.
 *
 * @module
 */

import type { TensorEntry } from "../files/weights.ts";
import type { Architecture, Names } from "./architecture.ts";
import type { Claims } from "./claims.ts";
import type { Fields } from "./fields.ts";
import type { LayerPlan, LinearTensors, ModelSizes, NormTensors } from "./model.ts";

/** Parts that may have biases. */
type Part = keyof Architecture["biases"];

/** The tensors of a layer's plan. */
export type LayerTensors = Omit<LayerPlan, "window" | "rope">;

/** What tensors depend on. */
export interface TensorChoices {
  readonly fields: Fields;
  readonly architecture: Architecture;
  readonly names: Names;
  readonly sizes: ModelSizes;
}

/** Claims a model's tensors. */
export class Tensors {
  readonly #choices: TensorChoices;
  readonly #claims: Claims;
  readonly #prefix: string;

  constructor(choices: TensorChoices, claims: Claims) {
    this.#choices = choices;
    this.#claims = claims;
    const { prefixes, embedding } = choices.names;
    this.#prefix = prefixes.find((one) => claims.has(`${one}${embedding}.weight`)) ?? prefixes[0];
  }

  #isBiased(part: Part): boolean {
    const { fields, architecture: { biases } } = this.#choices, bias = biases[part] ?? false;
    return typeof bias === "string" ? fields.isTrue(bias) : bias;
  }

  /** A matrix, where the architecture has one of this name. */
  matrix(name: string | undefined, rows: number, columns: number): TensorEntry | undefined {
    if (name === undefined) return undefined;
    return this.#claims.matrix(`${this.#prefix}${name}`, [rows, columns]);
  }

  /** A norm, where the architecture has one of this name. */
  norm(name: string | undefined, width = this.#choices.sizes.width): NormTensors | undefined {
    if (name === undefined) return undefined;
    return this.#claims.norm(`${this.#prefix}${name}`, width, this.#isBiased("norm"));
  }

  #linear(part: Part, name: string, outputs: number, inputs: number): LinearTensors {
    const layout = this.#choices.architecture.isInOut ? "in-out" : "out-in";
    const shape = { outputs, inputs, layout } as const;
    return this.#claims.linear(`${this.#prefix}${name}`, shape, this.#isBiased(part));
  }

  /** Linear layers of the same rows: one for each number of outputs, or one for all of them. */
  #linears(
    part: Part,
    names: readonly string[],
    outputs: readonly number[],
    inputs: number,
  ): LinearTensors[] {
    const each = names.length === 1 ? [outputs.reduce((a, b) => a + b)] : outputs;
    return names.map((name, at) => this.#linear(part, name, each[at], inputs));
  }

  layer(at: number): LayerTensors {
    const { architecture: { isGated, lacksFirstNorm }, names, sizes } = this.#choices;
    const { width, heads, kvHeads, headDim, feedWidth } = sizes, { layers } = names;
    const prefix = names.layer.replace("{}", `${at}`);
    const own = (name: string) => `${prefix}${name}`;
    const norm = (name: string | undefined, width?: number) =>
      this.norm(name === undefined ? undefined : own(name), width);
    const [queries, keys] = [heads * headDim, kvHeads * headDim];
    const [queryNorm, keyNorm] = layers.headNorms ?? [];
    const hasNorm = !(lacksFirstNorm && at === 0);
    return {
      attentionNorm: norm(hasNorm ? layers.attentionNorm : undefined),
      qkv: this.#linears("qkv", layers.qkv.map(own), [queries, keys, keys], width),
      queryNorm: norm(queryNorm, headDim),
      keyNorm: norm(keyNorm, headDim),
      output: this.#linear("output", own(layers.output), width, queries),
      attentionAfter: norm(layers.attentionAfter),
      feedNorm: norm(layers.feedNorm)!,
      feed: this.#linears(
        "feed",
        layers.feed.map(own),
        Array(isGated ? 2 : 1).fill(feedWidth),
        width,
      ),
      down: this.#linear("down", own(layers.down), width, feedWidth),
      feedAfter: norm(layers.feedAfter),
    };
  }

  /** Of logits: a matrix of its own, or the embedding's. */
  head(tokens: TensorEntry): LinearTensors {
    const { fields, architecture: { isTied = false }, names, sizes } = this.#choices;
    const shape = { outputs: sizes.vocabulary, inputs: sizes.width, layout: "out-in" } as const;
    if (fields.given("tie_word_embeddings") ?? isTied) return { ...shape, weight: tokens };
    const { heads = [] } = names;
    const name = heads.find((one) => this.#claims.has(`${one}.weight`)) ?? heads[0];
    return this.#claims.linear(name, shape, false);
  }

  /** What is wrong with them, in words. */
  problems(): string[] {
    const { ignored, heads = [] } = this.#choices.names;
    return this.#claims.problems((name) =>
      ignored.test(name) || heads.some((head) => name === `${head}.weight`)
    );
  }
}
