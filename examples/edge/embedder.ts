/**
 * Texts as vectors: a model, its tokenizer, and the engine that runs it.
 *
 * @module
 */

import { createEngine, type Engine } from "@flashtile/attention";
import {
  type Encoder,
  type EncoderSource,
  loadEncoder,
  type LoadEncoderOptions,
  type TokenizerLike,
} from "@flashtile/attention/models";

/** What is loaded, and how. */
export interface EmbedderOptions extends Pick<LoadEncoderOptions, "precision"> {
  /** What answers call the model. */
  readonly name: string;
  /** Its files. */
  readonly source: EncoderSource & { readonly tokenizer: TokenizerLike };
  /** Linear memory at most; a worker has 128 MB for everything. */
  readonly maxMemoryBytes: number;
}

/** Makes vectors of texts. */
export class Embedder {
  /** What answers call the model. */
  readonly name: string;
  readonly #encoder: Encoder;
  readonly #engine: Engine;
  readonly #tokenizer: TokenizerLike;

  private constructor(
    { name, source: { tokenizer } }: EmbedderOptions,
    encoder: Encoder,
    engine: Engine,
  ) {
    this.name = name;
    this.#encoder = encoder;
    this.#engine = engine;
    this.#tokenizer = tokenizer;
  }

  /** Loads a model, and embeds a first text: a request finds the arithmetic compiled then. */
  static async load(options: EmbedderOptions): Promise<Embedder> {
    const { source, precision, maxMemoryBytes } = options;
    const engine = await createEngine({ backend: "wasm", maxMemoryBytes });
    const encoder = await loadEncoder(source, { engine, precision, truncate: false });
    await encoder.embed(["Hello"]);
    return new Embedder(options, encoder, engine);
  }

  /** Numbers of a vector. */
  get dimensions(): number {
    return this.#encoder.dimensions;
  }

  /** Tokens of a text at most. */
  get maxTokens(): number {
    return this.#encoder.maxTokens;
  }

  /** The engine's backend, in words. */
  get reason(): string {
    return this.#engine.reason;
  }

  /** Linear memory that the engine has. */
  get memoryBytes(): number {
    return this.#engine.memoryBytes;
  }

  /** How many tokens a text has. */
  tokensOf(text: string): number {
    const encoded = this.#tokenizer.encode(text);
    return ("ids" in encoded ? encoded.ids : encoded).length;
  }

  /**
   * Embeds texts: a vector does not depend on what else is embedded.
   *
   * @param texts Texts of at most `maxTokens`.
   * @returns Vectors of length 1: the means of the last layer's states.
   */
  embed(texts: readonly string[]): Promise<Float32Array[]> {
    return this.#encoder.embed(texts);
  }
}

/** The cosine of the angle between two vectors of length 1. */
export function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, at) => sum + x * b[at], 0);
}
