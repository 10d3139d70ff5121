/**
 * Causal attention and its gradients, by the library.
 *
 * @module
 */

import type { Engine, Tensor } from "@flashtile/attention";
import type { LlamaConfig } from "./config.ts";

/** Gradients with respect to the operands of attention. */
export interface AttentionGradients {
  /** By the queries. */
  readonly dQueries: Float32Array;
  /** By the keys. */
  readonly dKeys: Float32Array;
  /** By the values. */
  readonly dValues: Float32Array;
}

/** What attention gave, and the way back. */
export interface Attended {
  /** The result, `[rows, Hq * D]`. */
  readonly out: Float32Array;
  /** Goes back; `dOut` is the gradient with respect to `out`. */
  backward(dOut: Float32Array): Promise<AttentionGradients>;
}

/** Attention within windows as long as the context. */
export class Attention {
  readonly #config: LlamaConfig;
  readonly #engine: Engine;
  #ms = 0;

  /**
   * @param config The model's sizes.
   * @param engine Computes; the caller closes it.
   */
  constructor(config: LlamaConfig, engine: Engine) {
    this.#config = config;
    this.#engine = engine;
  }

  /** Time spent in the library since this was made, in milliseconds. */
  get ms(): number {
    return this.#ms;
  }

  /**
   * Lets each row see itself and those before it in its window.
   *
   * @param queries The queries, `[rows, Hq * D]`.
   * @param keys The keys, `[rows, Hkv * D]`.
   * @param values The values, `[rows, Hkv * D]`.
   */
  async attend(
    queries: Float32Array,
    keys: Float32Array,
    values: Float32Array,
  ): Promise<Attended> {
    const { heads, kvHeads } = this.#config;
    const q = this.#headsOf(queries, heads);
    const [k, v] = [keys, values].map((rows) => this.#headsOf(rows, kvHeads));
    const { out, backward } = await this.#timed(
      () => this.#engine.attentionWithGradient(q, k, v, { causal: true, layout: "bnhd" }),
    );
    return {
      out: out.data,
      backward: async (dOut) => {
        const gradients = await this.#timed(() => backward(this.#headsOf(dOut, heads)));
        const { dq, dk, dv } = gradients;
        return { dQueries: dq.data, dKeys: dk.data, dValues: dv.data };
      },
    };
  }

  /** Views rows of a projection as the `[B, N, H, D]` of attention. */
  #headsOf(data: Float32Array, heads: number): Tensor<Float32Array> {
    const { context, headDim } = this.#config;
    return { data, shape: [data.length / (context * heads * headDim), context, heads, headDim] };
  }

  async #timed<T>(work: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    const result = await work();
    this.#ms += performance.now() - begin;
    return result;
  }
}
