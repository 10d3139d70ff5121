/**
 * The keys and values of the tokens that a model has seen.
 *
 * @module
 */

import type { Tensor } from "@flashtile/attention";

/** Keys and values of one layer, as attention takes them: `[Hkv, Nk, D]`. */
export interface KeysAndValues {
  /** The keys. */
  readonly k: Tensor;
  /** The values. */
  readonly v: Tensor;
}

/**
 * One array of keys and one of values per layer, each `[Hkv, capacity, D]`. There is room for the
 * whole context from the start, and attention reads a strided view of the rows that are filled: a
 * decode step writes its own row and copies nothing else.
 */
export class KeyValueStore {
  /** Tokens that fit. */
  readonly capacity: number;
  readonly #kvHeads: number;
  readonly #headDim: number;
  readonly #keys: readonly Float32Array[];
  readonly #values: readonly Float32Array[];
  #length = 0;

  /**
   * @param layers Number of layers.
   * @param kvHeads Key and value heads of a layer, `Hkv`.
   * @param capacity Tokens that fit.
   * @param headDim Size of a head, `D`.
   */
  constructor(layers: number, kvHeads: number, capacity: number, headDim: number) {
    const empty = () => new Float32Array(kvHeads * capacity * headDim);
    this.capacity = capacity;
    this.#kvHeads = kvHeads;
    this.#headDim = headDim;
    this.#keys = Array.from({ length: layers }, empty);
    this.#values = Array.from({ length: layers }, empty);
  }

  /** Tokens that every layer holds. */
  get length(): number {
    return this.#length;
  }

  /**
   * Writes the keys and values of new tokens after those that are held. They count for this layer
   * only, until `advance()`.
   *
   * @param layer Number of the layer.
   * @param keys Keys, `[rows, Hkv * D]`.
   * @param values Values, `[rows, Hkv * D]`.
   * @param rows Number of new tokens.
   * @returns Views of all keys and values of the layer, new ones included, `Nk = length + rows`.
   */
  append(layer: number, keys: Float32Array, values: Float32Array, rows: number): KeysAndValues {
    this.#write(this.#keys[layer], keys, rows);
    this.#write(this.#values[layer], values, rows);
    const filled = this.#length + rows;
    return { k: this.#view(this.#keys[layer], filled), v: this.#view(this.#values[layer], filled) };
  }

  /** Counts tokens that were appended to every layer. */
  advance(rows: number): void {
    this.#length += rows;
  }

  /** Forgets all tokens. */
  clear(): void {
    this.#length = 0;
  }

  #write(store: Float32Array, rows: Float32Array, count: number): void {
    const size = this.#headDim;
    for (let row = 0; row < count; row++) {
      for (let head = 0; head < this.#kvHeads; head++) {
        const from = (row * this.#kvHeads + head) * size;
        const to = (head * this.capacity + this.#length + row) * size;
        store.set(rows.subarray(from, from + size), to);
      }
    }
  }

  #view(store: Float32Array, length: number): Tensor {
    return {
      data: store,
      shape: [this.#kvHeads, length, this.#headDim],
      strides: [this.capacity * this.#headDim, this.#headDim, 1],
    };
  }
}
