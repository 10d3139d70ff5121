/**
 * What passes call: layers and attention on rows that have their places, results too.
 *
 * @module
 */

import type { EngineTensor } from "../../contract/backend.ts";
import { placed } from "../../operations/attention/operation.ts";
import type { AttentionOptions } from "../../operations/attention/options.ts";
import { readAttention } from "../../operations/attention/plan.ts";
import { callOf } from "../../operations/nn/call.ts";
import { readEmbedding, readMeanRows } from "../../operations/nn/embedding.ts";
import { readNorm } from "../../operations/nn/norm.ts";
import type { Activation, LinearPrecision } from "../../operations/nn/options.ts";
import { type PackedLinear, packedOf } from "../../operations/nn/packed.ts";
import { linear as linearToken, norms, pointwise } from "../../operations/nn/tokens.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import type { AnyTensor } from "../../tensor/tensor.ts";
import type { ModelPlan } from "../architectures/model.ts";
import type { Calls } from "./calls.ts";
import { callOn, viewOf, viewOrNone } from "./rows.ts";
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
  readonly activation?: Activation | null | undefined;
  readonly residual?: AnyTensor;
}

/** A linear layer. */
export function linear(
  calls: Calls,
  x: AnyTensor,
  { packed, bias }: LinearWeights,
  out: AnyTensor,
  { precision, activation = null, residual }: Asked,
): Waiting {
  const { weight } = packedOf(packed)!, added = viewOrNone(bias);
  return calls.run(callOn(
    linearToken,
    { packed: weight, bias: added, activation, precision },
    { x: viewOf(x), y: viewOrNone(residual), out: viewOf(out) },
    { weight, bias: added },
  ));
}

/** A norm of rows, or of each piece of them that is as long as its weight. */
export function norm(
  calls: Calls,
  x: AnyTensor,
  weights: NormWeights,
  out: AnyTensor,
  plan: ModelPlan,
): Waiting {
  if (x.shape.length > 2) return calls.run(normOfPieces(x, weights, out, plan));
  const isCentred = plan.norm !== "rms", { eps, normOffset } = plan;
  const weight = viewOf(weights.weight), bias = isCentred ? viewOrNone(weights.bias) : null;
  return calls.run(callOn(
    isCentred ? norms.layerNorm : norms.rmsNorm,
    { isCentred, weight, bias, eps, offset: isCentred ? 0 : normOffset },
    { x: viewOf(x), y: null, out: viewOf(out) },
    { weight, bias },
  ));
}

function normOfPieces(
  x: AnyTensor,
  { weight, bias }: NormWeights,
  out: AnyTensor,
  { norm: kind, eps, normOffset: offset }: ModelPlan,
) {
  const given = { x, weight, bias: kind === "rms" ? null : bias };
  const call = kind === "rms"
    ? readNorm("rmsNorm", given, { eps, offset, out })
    : readNorm("layerNorm", given, { eps, out });
  return callOf(call);
}

/** What a gate leaves, in its place. */
export function gated(
  calls: Calls,
  gate: AnyTensor,
  up: AnyTensor,
  activation: Activation,
): Waiting {
  const x = viewOf(gate), piece = { x, y: viewOf(up), out: x };
  return calls.run(callOn(pointwise.gated, { activation, combine: "multiply" }, piece, {}));
}

/** A sum, in the place of the first. */
export function add(calls: Calls, a: AnyTensor, b: AnyTensor): Waiting {
  const x = viewOf(a), piece = { x, y: viewOf(b), out: x };
  return calls.run(callOn(pointwise.add, { activation: null, combine: "add" }, piece, {}));
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

/** A call of attention of rows to rows, which layers on the same rows have in common. */
export type AttentionOfRows = ReturnType<typeof placed>;

/** Reads it. */
export function attentionOf(
  { q, k, v }: { readonly q: AnyTensor; readonly k: AnyTensor; readonly v: AnyTensor },
  options: AttentionOptions,
): AttentionOfRows {
  return placed(readAttention(q, k, v, options));
}
