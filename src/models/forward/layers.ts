/**
 * What passes call: layers and attention on rows that have their places, results too.
 *
 * @module
 */

import type { EngineTensor } from "../../contract/backend.ts";
import { type KvCache, lockCache, readCacheCall } from "../../cache/kv_cache.ts";
import { placed } from "../../operations/attention/operation.ts";
import type {
  AttentionOptions,
  CacheAttentionOptions,
} from "../../operations/attention/options.ts";
import { readAttention } from "../../operations/attention/plan.ts";
import { callOf } from "../../operations/nn/call.ts";
import { readEmbedding, readMeanRows } from "../../operations/nn/embedding.ts";
import { readLinear, readWeight } from "../../operations/nn/linear.ts";
import { readNorm } from "../../operations/nn/norm.ts";
import type { Activation, LinearPrecision } from "../../operations/nn/options.ts";
import type { PackedLinear } from "../../operations/nn/packed.ts";
import { readPointwise } from "../../operations/nn/pointwise.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import type { AnyTensor } from "../../tensor/tensor.ts";
import type { ModelPlan } from "../architectures/model.ts";
import type { Calls } from "./calls.ts";
import type { Waiting } from "./steps.ts";

/** A linear layer. */
export interface LinearWeights {
  readonly packed: PackedLinear;
  readonly bias: EngineTensor<TensorData> | undefined;
}

/** A norm. */
export interface NormWeights {
  readonly weight: EngineTensor<TensorData>;
  readonly bias: EngineTensor<TensorData> | null;
}

/** What a linear layer is asked beside its rows. */
export interface Asked {
  readonly precision: LinearPrecision;
  readonly activation?: Activation | undefined;
  readonly residual?: AnyTensor;
}

/** A linear layer. */
export function linear(
  calls: Calls,
  x: AnyTensor,
  { packed, bias }: LinearWeights,
  out: AnyTensor,
  asked: Asked,
): Waiting {
  return calls.run(
    callOf(readLinear(x, readWeight(packed, undefined).packed, { ...asked, bias, out })),
  );
}

/** A norm of rows, or of each piece of them that is as long as its weight. */
export function norm(
  calls: Calls,
  x: AnyTensor,
  { weight, bias }: NormWeights,
  out: AnyTensor,
  { norm: kind, eps, normOffset: offset }: ModelPlan,
): Waiting {
  const given = { x, weight, bias: kind === "rms" ? null : bias };
  const call = kind === "rms"
    ? readNorm("rmsNorm", given, { eps, offset, out })
    : readNorm("layerNorm", given, { eps, out });
  return calls.run(callOf(call));
}

/** What a gate leaves, in its place. */
export function gated(
  calls: Calls,
  gate: AnyTensor,
  up: AnyTensor,
  activation: Activation,
): Waiting {
  return calls.run(callOf(readPointwise({
    ...{ name: "gated", activation, combine: "multiply", x: ["gate", gate], y: ["up", up] },
  }, { out: gate })));
}

/** A sum, in the place of the first. */
export function add(calls: Calls, a: AnyTensor, b: AnyTensor): Waiting {
  return calls.run(callOf(readPointwise({
    ...{ name: "add", activation: null, combine: "add", x: ["a", a], y: ["b", b] },
  }, { out: a })));
}

/** Rows of a table. */
export function rowsOfTable(
  calls: Calls,
  ids: Int32Array,
  table: AnyTensor,
  out: AnyTensor,
  scale = 1,
): Waiting {
  return calls.run(callOf(readEmbedding(ids, table, { scale, out })));
}

/** All rows of a table. */
export function copyRows(calls: Calls, rows: AnyTensor, out: AnyTensor, scale = 1): Waiting {
  const all = Int32Array.from({ length: rows.shape[0] }, (_, at) => at);
  return rowsOfTable(calls, all, rows, out, scale);
}

/** Means of rows. */
export function means(
  calls: Calls,
  x: AnyTensor,
  bounds: readonly number[],
  out: AnyTensor,
): Waiting {
  return calls.run(callOf(readMeanRows(x, bounds, { out })));
}

/** Attention of rows to rows. */
export function attend(
  calls: Calls,
  { q, k, v }: { readonly q: AnyTensor; readonly k: AnyTensor; readonly v: AnyTensor },
  options: AttentionOptions,
): Waiting {
  return calls.run(placed(readAttention(q, k, v, options)));
}

/** Attention of rows to a cache, which must not change before that is submitted. */
export function attendCached(
  calls: Calls,
  cache: KvCache,
  q: AnyTensor,
  options: CacheAttentionOptions,
): Waiting {
  const unlock = lockCache(cache, "attend");
  try {
    return calls.run(placed(readCacheCall(cache, q, options)));
  } finally {
    unlock();
  }
}
