/**
 * The forward pass of a model, by its plan: blocks of attention and feed-forward with norms before, after or
 * around them. Every architecture and every use goes through here; who calls says how rows attend.
 *
 * @module
 */

import type { Backend } from "../../contract/backend.ts";
import type { Engine } from "../../engine/engine.ts";
import type { Activation, LinearPrecision } from "../../operations/nn/options.ts";
import type { AnyTensor } from "../../tensor/tensor.ts";
import type { ModelPlan } from "../architectures/model.ts";
import type { Calls } from "./calls.ts";
import {
  add,
  gated,
  linear,
  type LinearWeights,
  norm,
  type NormWeights,
  rowsOfTable,
} from "./layers.ts";
import type { Rotations } from "./rotations.ts";
import type { Steps, Waiting } from "./steps.ts";
import type { LayerWeights, ModelWeights } from "./weights.ts";
import { type Columns, rowsOf, type Workspace } from "./workspace.ts";

/** A model whose weights are in place. */
export interface Running {
  readonly plan: ModelPlan;
  readonly weights: ModelWeights;
  readonly space: Workspace;
  readonly engine: Engine;
  /** The engine's own backend. */
  readonly backend: Backend;
  readonly precision: LinearPrecision;
  /** Rotations by positions, where some layer has any: loaded with the model. */
  readonly rotations: typeof Rotations | undefined;
  /** Begins calls of a pass. */
  readonly begin: () => Calls;
}

/** Queries, keys and values of a layer as they lie, `[B, N, H, D]`. */
export interface Heads {
  readonly q: AnyTensor;
  readonly k: AnyTensor;
  readonly v: AnyTensor;
  /** Where the result goes. */
  readonly out: AnyTensor;
}

/** Rows of a pass. */
export interface Rows {
  readonly calls: Calls;
  /** B times N tokens, one sequence of N after the other. */
  readonly ids: Int32Array;
  /** Of each: where it stands in its text. */
  readonly positions: Int32Array;
  /** B; by default 1. */
  readonly batch?: number;
  /** Attention of a layer; `heads` says where they are by now. */
  attend(heads: () => Heads, layer: LayerWeights, at: number): Steps;
}

/** One layer's share of a pass. */
interface Layer extends Omit<Running, "rotations"> {
  readonly calls: Calls;
  readonly pass: Rows;
  readonly layer: LayerWeights;
  readonly at: number;
  readonly rotations: Rotations | undefined;
}

/** What a linear layer is asked beside its rows. */
interface Asked {
  readonly activation?: Activation | undefined;
  readonly residual?: AnyTensor;
}

/** Rows of the stream, of norms, of what is widened, and of what attention gave. */
function tensorsOf({ plan, space }: Pick<Running, "plan" | "space">, rows: number) {
  const { width, heads, headDim } = plan;
  return {
    x: () => rowsOf(space.get("x"), rows, width),
    h: () => rowsOf(space.get("h"), rows, width),
    context: () => rowsOf(space.get("context"), rows, heads * headDim),
    wide: (columns: number, part?: Columns) => rowsOf(space.get("wide"), rows, columns, part),
  };
}

/** A linear layer of some rows. */
function project(
  { pass: { calls }, precision }: Layer,
  x: AnyTensor,
  weights: LinearWeights,
  out: AnyTensor,
  asked: Asked = {},
): Waiting {
  return linear(calls, x, weights, out, { precision, ...asked });
}

/** A norm of some rows; without one nothing happens. */
function normalise(
  { plan, calls }: Pick<Running, "plan"> & Pick<Rows, "calls">,
  x: AnyTensor,
  weights: NormWeights | undefined,
  out: AnyTensor,
): Waiting {
  if (weights !== undefined) return norm(calls, x, weights, out, plan);
}

/** Some heads of rows side by side. */
function headsOf(
  { plan: { headDim }, pass: { batch = 1 } }: Layer,
  { data, dtype, shape: [rows], strides, offset }: AnyTensor,
  count: number,
): AnyTensor {
  const [step] = strides!, each = rows / batch;
  return {
    ...{ data, dtype, offset },
    shape: [batch, each, count, headDim],
    strides: [each * step, step, headDim, 1],
  };
}

/** Queries, keys and values, normalised and turned, and attention to them: from `from` to the context. */
function* attend(now: Layer, from: AnyTensor, rows: number): Steps {
  const { plan, calls, layer, pass, at, rotations } = now, { heads, kvHeads, headDim } = plan;
  const t = tensorsOf(now, rows), columns = (heads + 2 * kvHeads) * headDim;
  yield project(now, from, layer.qkv, t.wide(columns));
  const part = (from: number, count: number) =>
    headsOf(now, t.wide(count * headDim, { step: columns, from: from * headDim }), count);
  const all = () => ({
    q: part(0, heads),
    k: part(heads, kvHeads),
    v: part(heads + kvHeads, kvHeads),
    out: headsOf(now, t.context(), heads),
  });
  yield normalise({ plan, calls }, all().q, layer.queryNorm, all().q);
  yield normalise({ plan, calls }, all().k, layer.keyNorm, all().k);
  if (layer.rope !== undefined) yield rotations!.turn(part(0, heads + kvHeads), layer.rope);
  yield* pass.attend(all, layer, at);
}

/** What a feed-forward layer has within it: from `from`, in as many columns as are activated. */
function* widen(now: Layer, from: AnyTensor, rows: number): Steps<() => AnyTensor> {
  const { plan: { feedWidth, isGated, activation }, layer, calls } = now;
  const t = tensorsOf(now, rows);
  if (!isGated) {
    yield project(now, from, layer.feed, t.wide(feedWidth), { activation });
    return () => t.wide(feedWidth);
  }
  const step = 2 * feedWidth, gate = () => t.wide(feedWidth, { step });
  yield project(now, from, layer.feed, t.wide(step));
  yield gated(calls, gate(), t.wide(feedWidth, { step, from: feedWidth }), activation);
  return gate;
}

/** What a part of a layer reads. */
function* enter(now: Layer, weights: NormWeights | undefined, rows: number): Steps<AnyTensor> {
  const { x, h } = tensorsOf(now, rows);
  if (now.plan.block === "after" || weights === undefined) return x();
  yield normalise(now, x(), weights, h());
  return h();
}

/** A part of a layer: what it ends with, and its norms. */
interface Part {
  readonly last: LinearWeights;
  readonly norm: NormWeights | undefined;
  /** Of what comes out, where norms stand around it. */
  readonly after: NormWeights | undefined;
}

/** What comes out of a part is added to the stream: at once, or after a norm of it, or before one of the sum. */
function* join(now: Layer, from: AnyTensor, { last, norm, after }: Part, rows: number): Steps {
  const { plan: { block }, calls } = now, { x, h } = tensorsOf(now, rows);
  if (block === "around") {
    yield project(now, from, last, h());
    yield normalise(now, h(), after, h());
    yield add(calls, x(), h());
    return;
  }
  const isAfter = block === "after", residual = x();
  yield project(now, from, last, isAfter ? h() : residual, { residual });
  if (isAfter) yield normalise(now, h(), norm, x());
}

/** A layer: the stream becomes that of the next. */
function* runLayer(now: Layer, rows: number): Steps {
  const { layer } = now, { context } = tensorsOf(now, rows);
  const attention = { last: layer.output, norm: layer.attentionNorm, after: layer.attentionAfter };
  yield* attend(now, yield* enter(now, attention.norm, rows), rows);
  yield* join(now, context(), attention, rows);
  const feed = { last: layer.down, norm: layer.feedNorm, after: layer.feedAfter };
  const inner = yield* widen(now, yield* enter(now, feed.norm, rows), rows);
  yield* join(now, inner(), feed, rows);
}

/** Tokens, and what is added to them by their positions. */
function* embed(running: Running, { calls, ids, positions }: Rows): Steps {
  const { plan, weights: { tokens, places, embeddingNorm } } = running;
  const { x, h } = tensorsOf(running, ids.length);
  yield tokens.write(calls, ids, x());
  if (places !== undefined) {
    const rows = places.shape[0] === 1 ? new Int32Array(ids.length) : positions;
    const { data, shape } = places;
    yield rowsOfTable(calls, rows, { data, shape, dtype: "f32" }, h());
    yield add(calls, x(), h());
  }
  yield normalise({ plan, calls }, x(), embeddingNorm, x());
}

/**
 * Runs a pass. Its states are then the first rows of `x`.
 *
 * @returns What gives them, wherever they are by now.
 */
export function* forward(running: Running, pass: Rows): Steps<() => AnyTensor> {
  const rows = pass.ids.length, { plan, space, weights } = running, { calls } = pass;
  space.reserve(rows);
  yield* embed(running, pass);
  const rotations = running.rotations && new running.rotations(calls, pass.positions);
  for (const [at, layer] of weights.layers.entries()) {
    yield* runLayer({ ...running, calls, pass, layer, at, rotations }, rows);
  }
  const { x } = tensorsOf(running, rows);
  yield normalise({ plan, calls }, x(), weights.finalNorm, x());
  return x;
}
