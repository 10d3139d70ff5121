/**
 * Biases of scores by the distance of a key, as T5 has them (Raffel et al., arXiv 1910.10683): a table for the
 * longest text so far, of which shorter ones have a corner.
 *
 * @module
 */

import type { EngineTensor } from "../../contract/backend.ts";
import type { Engine } from "../../engine/engine.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../../tensor/tensor.ts";
import type { Calls } from "./calls.ts";
import { copyRows } from "./layers.ts";
import type { Steps } from "./steps.ts";

/** Distances from here on share a bucket. */
const farthest = 128;

/** The bucket of a distance: a half of them for keys behind the query; small distances have one each, others by their logarithm. */
export function bucketOf(distance: number, buckets: number): number {
  const side = buckets / 2, exact = side / 2, size = Math.abs(distance);
  const first = distance > 0 ? side : 0;
  if (size < exact) return first + size;
  const grown = Math.log(size / exact) / Math.log(farthest / exact) * (side - exact);
  return first + Math.min(side - 1, exact + Math.floor(grown));
}

/** Biases of a model, the same in all layers. */
export class RelativeBias {
  readonly #table: Float32Array;
  readonly #heads: number;
  readonly #engine: Engine;
  #made: EngineTensor<TensorData> | undefined;
  #tokens = 0;

  /** @param table `[buckets, heads]`. */
  constructor(table: Float32Array, heads: number, engine: Engine) {
    this.#table = table;
    this.#heads = heads;
    this.#engine = engine;
  }

  /** Has biases of a text of so many tokens. */
  *reserve(tokens: number, calls: Calls): Steps {
    if (tokens <= this.#tokens) return;
    calls.submit();
    this.free();
    const heads = this.#heads;
    const made = this.#made = this.#engine.tensor([heads, tokens, tokens]);
    yield copyRows(calls, this.#make(tokens), {
      ...{ data: made.data, shape: [heads * tokens, tokens], dtype: "f32" },
    });
    this.#tokens = tokens;
  }

  /** The bias of a text of so many tokens, `[1, heads, tokens, tokens]`. */
  of(tokens: number): Tensor<Float32Array | GPUBuffer> {
    const most = this.#tokens, data = this.#made!.data as Float32Array | GPUBuffer;
    return {
      ...{ data, dtype: "f32" },
      shape: [1, this.#heads, tokens, tokens],
      strides: [0, most * most, most, 1],
    };
  }

  /** Gives the memory back. */
  free(): void {
    this.#made?.free();
    this.#made = undefined;
    this.#tokens = 0;
  }

  /** Rows of all heads, one head after the other. */
  #make(tokens: number): AnyTensor {
    const heads = this.#heads, buckets = this.#table.length / heads;
    const data = new Float32Array(heads * tokens * tokens);
    for (let head = 0; head < heads; head++) {
      const byDistance = Float32Array.from(
        { length: 2 * tokens - 1 },
        (_, at) => this.#table[bucketOf(at + 1 - tokens, buckets) * heads + head],
      );
      for (let query = 0; query < tokens; query++) {
        const row = byDistance.subarray(tokens - 1 - query, 2 * tokens - 1 - query);
        data.set(row, (head * tokens + query) * tokens);
      }
    }
    return { data, shape: [heads * tokens, tokens] };
  }
}
