/**
 * What a model remembers of its sequences: one of the library's KV caches per layer.
 *
 * @module
 */

import type { Engine, KvCache, KvCacheOptions } from "@flashtile/attention";
import type { LlamaConfig } from "./config.ts";

/** How keys and values are stored; as the library has it by default. */
export type StoredAs = Pick<KvCacheOptions, "dtype" | "smoothKeys">;

/** What sequences are remembered as. */
export interface CachesOptions extends StoredAs {
  /** Number of sequences. */
  readonly sequences: number;
}

/** The caches of all layers. They are filled layer by layer, each by the same tokens. */
export class Caches implements Disposable {
  /** The caches, first layer to last. */
  readonly layers: readonly KvCache[];

  /**
   * @param engine Lends the memory.
   * @param config Sizes of the model.
   * @param options How many sequences there are, and how they are stored.
   */
  constructor(engine: Engine, config: LlamaConfig, { sequences, ...storage }: CachesOptions) {
    const { kvHeads, headDim, context: capacity } = config;
    const sizes = { batch: sequences, kvHeads, headDim, capacity, ...storage };
    this.layers = Array.from({ length: config.layers }, () => engine.kvCache(sizes));
  }

  /**
   * Tokens of each sequence that every layer holds. A copy, because a chunk needs those before it
   * until it has passed all layers.
   */
  get lengths(): readonly number[] {
    return [...this.layers.at(-1)!.lengths];
  }

  /** Bytes of the pages in use. */
  get bytes(): number {
    return this.layers.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  [Symbol.dispose](): void {
    for (const layer of this.layers) layer.free();
  }
}
