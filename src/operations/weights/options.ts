/**
 * What `attentionWeights()` can be asked, and what it gives.
 *
 * @module
 */

import type { TensorData } from "../../tensor/dtype.ts";
import type { NumberList, Tensor } from "../../tensor/tensor.ts";
import type { AttentionOptions } from "../attention/options.ts";
import type { LseData } from "../attention/result.ts";
import { gradientNames } from "../backward/plan.ts";

/** What sums of weights are given for: query heads, key/value heads, or none are asked for. */
export type KeySums = boolean | "kv";

/** Options of `attentionWeights()`: those of `attention()` that say what a call means, and these. */
export interface WeightsOptions
  extends Omit<AttentionOptions, "lse" | "out" | "encoder" | "precision"> {
  /** Which query rows: whole numbers that ascend, from 0 to Nq - 1; all by default. */
  readonly rows?: NumberList | undefined;
  /** Which query heads: whole numbers that ascend, from 0 to Hq - 1; all by default. */
  readonly heads?: NumberList | undefined;
  /**
   * What `attention()` gave with `lse: true` for the same call, `[B, Hq, Nq]`, f32; computed by a pass over
   * the keys where it is not given. With sinks it has these in it: weights then sum to less than 1.
   */
  readonly lse?: Tensor<Float32Array | GPUBuffer> | undefined;
  /**
   * Give, in place of weights, their sums over the rows for each key: `true` by query head, `"kv"` by key/value
   * head, over its group.
   */
  readonly keySums?: KeySums | undefined;
}

/** Every option, by name. */
export const weightsNames: readonly (keyof WeightsOptions & string)[] = [
  ...gradientNames.filter((name) => name !== "precision"),
  "rows",
  "heads",
  "lse",
  "keySums",
];

/** Weights, of rows of queries in `Data`: f32, in a buffer where the queries are in one. */
export interface AttentionWeights<Data extends TensorData> {
  /** `[B, heads, rows, Nk]` in the rank of `q`. */
  readonly weights: Tensor<LseData<Data>>;
}

/** Sums of weights for each key, f32. */
export interface AttentionKeySums<Data extends TensorData> {
  /** `[B, heads, Nk]` in the rank of `q`. */
  readonly keySums: Tensor<LseData<Data>>;
}

/** What a call gives, by its option `keySums`. */
export type WeightsResult<Data extends TensorData, Sums extends KeySums | undefined> = [
  Sums,
] extends [true | "kv"] ? AttentionKeySums<Data>
  : [Sums] extends [false | undefined] ? AttentionWeights<Data>
  : AttentionWeights<Data> | AttentionKeySums<Data>;
