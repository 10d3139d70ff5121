/**
 * The Llama itself: tokens in, logits out, every attention through the library.
 *
 * @module
 */

import type { Engine, Tensor } from "@flashtile/attention";
import type { LlamaConfig } from "./config.ts";
import { type KeysAndValues, KeyValueStore } from "./key_value_store.ts";
import { addInto, gateSilu, rmsNorm } from "./layers.ts";
import { linear } from "./linear.ts";
import { createRope, type Rope, rotate } from "./rope.ts";
import type { LayerWeights, LlamaWeights } from "./weights.ts";

/** Which tokens of a chunk logits are wanted for. */
export type Wanted = "last" | "all";

/** Intermediate results of a chunk; each has room for the whole context. */
interface Activations {
  /** The residual stream, `[rows, hidden]`. */
  readonly stream: Float32Array;
  /** The stream after a norm, `[rows, hidden]`. */
  readonly normed: Float32Array;
  /** What a block adds to the stream, `[rows, hidden]`. */
  readonly change: Float32Array;
  /** Queries, `[rows, Hq * D]`. */
  readonly queries: Float32Array;
  /** Keys of the new tokens, `[rows, Hkv * D]`. */
  readonly keys: Float32Array;
  /** Values of the new tokens, `[rows, Hkv * D]`. */
  readonly values: Float32Array;
  /** Attention's result, `[rows, Hq * D]`. */
  readonly attended: Float32Array;
  /** SwiGLU's gate, `[rows, intermediate]`. */
  readonly gate: Float32Array;
  /** What the gate lets pass, `[rows, intermediate]`. */
  readonly up: Float32Array;
}

/** A Llama with its weights, its scratch memory and the engine that does its attention. */
export class Llama {
  /** The model's sizes. */
  readonly config: LlamaConfig;
  readonly #weights: LlamaWeights;
  readonly #engine: Engine;
  readonly #rope: Rope;
  readonly #activations: Activations;
  #attentionMs = 0;

  /**
   * @param config The model's sizes.
   * @param weights Its weights.
   * @param engine Does its attention; the caller closes it.
   */
  constructor(config: LlamaConfig, weights: LlamaWeights, engine: Engine) {
    this.config = config;
    this.#weights = weights;
    this.#engine = engine;
    this.#rope = createRope(config.context, config.headDim, config.ropeTheta);
    this.#activations = createActivations(config);
  }

  /** Time spent in attention since the model was made, in milliseconds. */
  get attentionMs(): number {
    return this.#attentionMs;
  }

  /** An empty store for one sequence as long as the context. */
  createStore(): KeyValueStore {
    const { layers, kvHeads, context, headDim } = this.config;
    return new KeyValueStore(layers, kvHeads, context, headDim);
  }

  /**
   * Reads the next tokens of a sequence: a whole prompt, a part of one, or a single token.
   *
   * @param tokens The tokens, at least one.
   * @param store The keys and values of the tokens before; receives those of `tokens`. What it
   * holds after an error is undefined.
   * @param wanted Whether logits are wanted for the last token or for all.
   * @returns The logits of the token that follows, `[1, vocab]` or `[tokens.length, vocab]`.
   * @throws {RangeError} When there is no token, or no room for all of them.
   */
  async forward(tokens: Uint8Array, store: KeyValueStore, wanted: Wanted): Promise<Float32Array> {
    const rows = tokens.length;
    if (rows === 0 || store.length + rows > store.capacity) {
      throw new RangeError(
        `Cannot read ${rows} tokens after ${store.length}: ` +
          `expected 1 to ${store.capacity - store.length}`,
      );
    }
    this.#embed(tokens);
    for (const [layer, weights] of this.#weights.layers.entries()) {
      await this.#attentionBlock(layer, weights, rows, store);
      this.#swigluBlock(weights, rows);
    }
    store.advance(rows);
    return this.#logits(rows, wanted);
  }

  #embed(tokens: Uint8Array): void {
    const { data, inputs } = this.#weights.embedding;
    for (const [row, token] of tokens.entries()) {
      this.#activations.stream.set(
        data.subarray(token * inputs, (token + 1) * inputs),
        row * inputs,
      );
    }
  }

  async #attentionBlock(
    layer: number,
    weights: LayerWeights,
    rows: number,
    store: KeyValueStore,
  ): Promise<void> {
    const { hiddenSize, heads, kvHeads, normEpsilon } = this.config;
    const { stream, normed, change, queries, keys, values, attended } = this.#activations;
    rmsNorm(stream, rows, weights.attentionNorm, normEpsilon, normed);
    linear(normed, rows, weights.query, queries);
    linear(normed, rows, weights.key, keys);
    linear(normed, rows, weights.value, values);
    rotate(this.#rope, queries, rows, heads, store.length);
    rotate(this.#rope, keys, rows, kvHeads, store.length);
    await this.#attend(rows, store.append(layer, keys, values, rows));
    linear(attended, rows, weights.output, change);
    addInto(stream, change, rows * hiddenSize);
  }

  /**
   * `causal` aligns the last query with the last key, so the same call is right for a prompt, for
   * a later part of one, and for a single token. `Hq` query heads share `Hkv` key and value heads
   * by their shapes alone: nothing is repeated.
   */
  async #attend(rows: number, { k, v }: KeysAndValues): Promise<void> {
    const q = this.#headsOf(this.#activations.queries, rows);
    const out = this.#headsOf(this.#activations.attended, rows);
    const begin = performance.now();
    await this.#engine.attention(q, k, v, { causal: true, out });
    this.#attentionMs += performance.now() - begin;
  }

  /** Views the `[rows, Hq * D]` of a projection as the `[Hq, rows, D]` of attention. */
  #headsOf(data: Float32Array, rows: number): Tensor {
    const { heads, headDim } = this.config;
    return { data, shape: [heads, rows, headDim], strides: [headDim, heads * headDim, 1] };
  }

  #swigluBlock(weights: LayerWeights, rows: number): void {
    const { hiddenSize, intermediateSize, normEpsilon } = this.config;
    const { stream, normed, change, gate, up } = this.#activations;
    rmsNorm(stream, rows, weights.mlpNorm, normEpsilon, normed);
    linear(normed, rows, weights.gate, gate);
    linear(normed, rows, weights.up, up);
    gateSilu(gate, up, rows * intermediateSize);
    linear(gate, rows, weights.down, change);
    addInto(stream, change, rows * hiddenSize);
  }

  #logits(rows: number, wanted: Wanted): Float32Array {
    const { hiddenSize, vocabSize, normEpsilon } = this.config;
    const { stream, normed } = this.#activations;
    const first = wanted === "all" ? 0 : rows - 1;
    const logits = new Float32Array((rows - first) * vocabSize);
    rmsNorm(
      stream.subarray(first * hiddenSize),
      rows - first,
      this.#weights.norm,
      normEpsilon,
      normed,
    );
    linear(normed, rows - first, this.#weights.head, logits);
    return logits;
  }
}

function createActivations(config: LlamaConfig): Activations {
  const { context, hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  const rowsOf = (width: number) => new Float32Array(context * width);
  return {
    stream: rowsOf(hiddenSize),
    normed: rowsOf(hiddenSize),
    change: rowsOf(hiddenSize),
    queries: rowsOf(heads * headDim),
    keys: rowsOf(kvHeads * headDim),
    values: rowsOf(kvHeads * headDim),
    attended: rowsOf(heads * headDim),
    gate: rowsOf(intermediateSize),
    up: rowsOf(intermediateSize),
  };
}
