/**
 * The Llama itself: tokens in, logits out, every attention through the library.
 *
 * @module
 */

import type { Engine, KvCache, Tensor } from "@flashtile/attention";
import { Caches, type CachesOptions } from "./caches.ts";
import type { LlamaConfig } from "./config.ts";
import { addInto, gateSilu, rmsNorm } from "./layers.ts";
import { linear } from "./linear.ts";
import { Ragged } from "./ragged.ts";
import type { LayerWeights, LlamaWeights } from "./weights.ts";

/** Which of the tokens that a sequence reads logits are wanted for. */
export type Wanted = "last" | "all";

/** The tokens that are read at once: rows of sequences, one after the other. */
interface Chunk {
  /** Rows of each sequence. */
  readonly rows: Ragged;
  /** Tokens of each sequence before these. */
  readonly starts: readonly number[];
  /** Position of each row in its sequence. */
  readonly positions: Int32Array;
}

/** Intermediate results of a chunk. */
interface Activations {
  /** Rows that there is room for. */
  readonly room: number;
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
  #activations: Activations;
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
    this.#activations = createActivations(config, config.context);
  }

  /** Time spent in the library since the model was made, in milliseconds. */
  get attentionMs(): number {
    return this.#attentionMs;
  }

  /** Empty caches for sequences as long as the context; the caller disposes of them. */
  createCaches(options: CachesOptions): Caches {
    return new Caches(this.#engine, this.config, options);
  }

  /**
   * Reads the next tokens of every sequence at once: whole prompts, parts of them, single tokens, or
   * none of a sequence that is finished.
   *
   * @param tokens The tokens of each sequence, at least one in all.
   * @param caches The sequences so far; they grow by `tokens`. What they hold after an error is
   * undefined.
   * @param wanted Whether logits are wanted for each sequence's last token or for all.
   * @returns The logits of the token that follows, of each sequence `[1, vocab]` or
   * `[tokens, vocab]`; none of a sequence that reads none.
   * @throws {RangeError} When there is no token, or no room for all of them.
   */
  async forward(
    tokens: readonly Uint8Array[],
    caches: Caches,
    wanted: Wanted,
  ): Promise<readonly Float32Array[]> {
    return this.#logits(await this.#read(tokens, caches), wanted);
  }

  /**
   * Reads as `forward()` does, and gives what it would make logits of.
   *
   * @returns The last layer's rows after the norm, of each sequence `[tokens, hidden]`.
   */
  async states(tokens: readonly Uint8Array[], caches: Caches): Promise<readonly Float32Array[]> {
    const { counts, begins } = await this.#read(tokens, caches);
    return counts.map((count, sequence) => this.#normed(begins[sequence], count).slice());
  }

  /** Takes tokens through all layers; their rows are in the stream then. */
  async #read(tokens: readonly Uint8Array[], caches: Caches): Promise<Ragged> {
    const chunk = chunkOf(tokens, caches.lengths, this.config.context);
    const { total } = chunk.rows;
    if (total > this.#activations.room) this.#activations = createActivations(this.config, total);
    this.#embed(tokens, chunk.rows);
    for (const [layer, weights] of this.#weights.layers.entries()) {
      await this.#attentionBlock(weights, chunk, caches.layers[layer]);
      this.#swigluBlock(weights, total);
    }
    return chunk.rows;
  }

  #embed(tokens: readonly Uint8Array[], { begins }: Ragged): void {
    const { data, inputs } = this.#weights.embedding;
    for (const [sequence, begin] of begins.entries()) {
      for (const [row, token] of tokens[sequence].entries()) {
        const embedding = data.subarray(token * inputs, (token + 1) * inputs);
        this.#activations.stream.set(embedding, (begin + row) * inputs);
      }
    }
  }

  async #attentionBlock(weights: LayerWeights, chunk: Chunk, cache: KvCache): Promise<void> {
    const { hiddenSize, normEpsilon } = this.config;
    const { stream, normed, change, queries, keys, values, attended } = this.#activations;
    const { total } = chunk.rows;
    rmsNorm(stream, total, weights.attentionNorm, normEpsilon, normed);
    linear(normed, total, weights.query, queries);
    linear(normed, total, weights.key, keys);
    linear(normed, total, weights.value, values);
    const begin = performance.now();
    await this.#rotate(chunk);
    this.#append(chunk, cache);
    await this.#attend(chunk, cache);
    this.#attentionMs += performance.now() - begin;
    linear(attended, total, weights.output, change);
    addInto(stream, change, total * hiddenSize);
  }

  /** Rows know their own positions, so that they are turned while they are packed. */
  async #rotate({ rows, positions }: Chunk): Promise<void> {
    const { queries, keys } = this.#activations;
    const { heads, kvHeads, ropeTheta: theta } = this.config;
    const packed = new Ragged([rows.total]);
    const q = this.#headsOf(queries, packed, heads);
    const k = this.#headsOf(keys, packed, kvHeads);
    await this.#engine.rope(q, k, { positions, theta, style: "half", layout: "bnhd" });
  }

  /** `lengths` says how many rows of each sequence count: none of one that is finished. */
  #append({ rows }: Chunk, cache: KvCache): void {
    const { keys, values } = this.#activations;
    const { kvHeads, headDim } = this.config;
    const [k, v] = [keys, values].map((packed) =>
      this.#headsOf(rows.pad(packed, kvHeads * headDim), rows, kvHeads)
    );
    cache.append(k, v, { lengths: rows.counts, layout: "bnhd" });
  }

  /**
   * Each sequence's first query stands at `offset`, behind the tokens before: so the same call is
   * right for prompts of different lengths, for later parts of them, and for single tokens. `Hq`
   * query heads share `Hkv` key and value heads by their shapes alone: nothing is repeated.
   */
  async #attend({ rows, starts }: Chunk, cache: KvCache): Promise<void> {
    const { queries, attended } = this.#activations;
    const { heads, headDim } = this.config;
    const width = heads * headDim;
    const q = this.#headsOf(rows.pad(queries, width), rows, heads);
    const result = rows.even ? attended : rows.empty(width);
    const out = this.#headsOf(result, rows, heads);
    await cache.attend(q, { causal: true, offset: starts, layout: "bnhd", out });
    rows.pack(result, width, attended);
  }

  /** Views rows of a projection as the `[B, N, H, D]` of attention. */
  #headsOf(data: Float32Array, { counts, longest }: Ragged, heads: number): Tensor {
    return { data, shape: [counts.length, longest, heads, this.config.headDim] };
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

  #logits({ counts, begins }: Ragged, wanted: Wanted): readonly Float32Array[] {
    return counts.map((count, sequence) => {
      const rows = wanted === "all" ? count : Math.min(count, 1);
      return this.#logitsOf(begins[sequence] + count - rows, rows);
    });
  }

  #logitsOf(first: number, rows: number): Float32Array {
    const logits = new Float32Array(rows * this.config.vocabSize);
    linear(this.#normed(first, rows), rows, this.#weights.head, logits);
    return logits;
  }

  /** Rows of the stream after the last norm; good until the next norm. */
  #normed(first: number, rows: number): Float32Array {
    const { hiddenSize, normEpsilon } = this.config;
    const { stream, normed } = this.#activations;
    rmsNorm(stream.subarray(first * hiddenSize), rows, this.#weights.norm, normEpsilon, normed);
    return normed.subarray(0, rows * hiddenSize);
  }
}

function chunkOf(
  tokens: readonly Uint8Array[],
  starts: readonly number[],
  context: number,
): Chunk {
  if (tokens.length !== starts.length) {
    throw new RangeError(
      `Cannot read tokens of ${tokens.length} sequences: the caches have ${starts.length}`,
    );
  }
  const rows = new Ragged(tokens.map(({ length }) => length));
  for (const [sequence, count] of rows.counts.entries()) {
    const room = context - starts[sequence];
    if (count <= room && rows.total > 0) continue;
    throw new RangeError(
      `Cannot read ${count} tokens after ${starts[sequence]}: expected 1 to ${room}`,
    );
  }
  const positions = rows.counts.flatMap((count, sequence) =>
    Array.from({ length: count }, (_, row) => starts[sequence] + row)
  );
  return { rows, starts, positions: Int32Array.from(positions) };
}

function createActivations(config: LlamaConfig, room: number): Activations {
  const { hiddenSize, intermediateSize, heads, kvHeads, headDim } = config;
  const rowsOf = (width: number) => new Float32Array(room * width);
  return {
    room,
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
