/**
 * The forward pass of a model, by its plan: blocks of attention and feed-forward with norms before, after or
 * around them. Every architecture and every use goes through here; who calls says how rows attend.
 *
 * @module
 */

import type { Backend } from "../../contract/backend.ts";
import type { Engine } from "../../engine/engine.ts";
import { linearSync } from "../../nn/linear.ts";
import { layerNormSync, rmsNormSync } from "../../nn/norms.ts";
import { addSync, gatedSync } from "../../nn/pointwise.ts";
import { embeddingSync } from "../../nn/embedding.ts";
import type { Activation, LinearPrecision } from "../../operations/nn/options.ts";
import type { AnyTensor, Tensor } from "../../tensor/tensor.ts";
import type { ModelPlan } from "../architectures/model.ts";
import { Rotations } from "./rotations.ts";
import type { Steps } from "./steps.ts";
import type { LayerWeights, LinearWeights, ModelWeights, NormWeights } from "./weights.ts";
import { type Part, rowsOf, type Workspace } from "./workspace.ts";

/** A model whose weights are in place. */
export interface Running {
  readonly plan: ModelPlan;
  readonly weights: ModelWeights;
  readonly space: Workspace;
  readonly engine: Engine;
  /** The engine's own backend. */
  readonly backend: Backend;
  readonly precision: LinearPrecision;
}

/** Queries, keys and values of a layer as they lie, `[B, N, H, D]`. */
export interface Heads {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  /** Where the result goes. */
  readonly out: Tensor;
}

/** Rows of a pass. */
export interface Pass {
  /** B times N tokens, one sequence of N after the other. */
  readonly ids: Int32Array;
  /** Of each: where it stands in its text. */
  readonly positions: Int32Array;
  /** B; by default 1. */
  readonly batch?: number;
  /** Attention of a layer; `heads` says where they are by now. */
  attend(heads: () => Heads, layer: LayerWeights, at: number): void;
}

/** One layer's share of a pass. */
interface Layer extends Running {
  readonly pass: Pass;
  readonly layer: LayerWeights;
  readonly at: number;
  readonly rotations: Rotations;
}

/** What a linear layer is asked beside its rows. */
interface Asked {
  readonly activation?: Activation;
  readonly residual?: Tensor;
}

/** Rows of the stream, of norms, of what is widened, and of what attention gave. */
function tensorsOf({ plan, space }: Running, rows: number) {
  const { width, heads, headDim } = plan;
  return {
    x: () => rowsOf(space.get("x"), rows, width),
    h: () => rowsOf(space.get("h"), rows, width),
    context: () => rowsOf(space.get("context"), rows, heads * headDim),
    wide: (columns: number, part?: Part) => rowsOf(space.get("wide"), rows, columns, part),
  };
}

/** A linear layer of some rows. */
export function project(
  x: AnyTensor,
  { packed, bias }: LinearWeights,
  out: AnyTensor,
  { precision }: Pick<Running, "precision">,
  asked: Asked = {},
): void {
  linearSync(x, packed, { ...asked, bias, precision, out });
}

/** A norm of some rows, or of each piece of them that is as long as its weight; without one nothing happens. */
function normalise(
  x: Tensor,
  norm: NormWeights | undefined,
  out: Tensor,
  { plan, engine }: Running,
): void {
  if (norm === undefined) return;
  const { weight, bias } = norm, { eps, normOffset: offset } = plan;
  if (plan.norm === "rms") rmsNormSync(x, weight, { engine, eps, offset, out });
  else layerNormSync(x, weight, bias, { engine, eps, out });
}

/** Some heads of rows side by side. */
function headsOf(
  { plan: { headDim }, pass: { batch = 1 } }: Layer,
  { data, shape: [rows], strides, offset }: Tensor,
  count: number,
): Tensor {
  const [step] = strides!, each = rows / batch;
  return {
    ...{ data, offset },
    shape: [batch, each, count, headDim],
    strides: [each * step, step, headDim, 1],
  };
}

/** Queries, keys and values, normalised and turned, and attention to them: from `from` to the context. */
function* attend(now: Layer, from: Tensor, rows: number): Steps {
  const { plan, layer, pass, at, rotations } = now, { heads, kvHeads, headDim } = plan;
  const t = tensorsOf(now, rows), columns = (heads + 2 * kvHeads) * headDim;
  project(from, layer.qkv, t.wide(columns), now);
  yield;
  const part = (from: number, count: number) =>
    headsOf(now, t.wide(count * headDim, { step: columns, from: from * headDim }), count);
  const all = () => ({
    q: part(0, heads),
    k: part(heads, kvHeads),
    v: part(heads + kvHeads, kvHeads),
    out: headsOf(now, t.context(), heads),
  });
  normalise(all().q, layer.queryNorm, all().q, now);
  normalise(all().k, layer.keyNorm, all().k, now);
  if (layer.rope !== undefined) rotations.turn(part(0, heads + kvHeads), layer.rope);
  pass.attend(all, layer, at);
  yield;
}

/** What a feed-forward layer has within it: from `from`, in as many columns as are activated. */
function* widen(now: Layer, from: Tensor, rows: number): Generator<void, () => Tensor> {
  const { plan: { feedWidth, isGated, activation }, layer, engine } = now;
  const t = tensorsOf(now, rows);
  if (!isGated) {
    project(from, layer.feed, t.wide(feedWidth), now, { activation });
    yield;
    return () => t.wide(feedWidth);
  }
  const step = 2 * feedWidth, gate = () => t.wide(feedWidth, { step });
  project(from, layer.feed, t.wide(step), now);
  yield;
  gatedSync(gate(), t.wide(feedWidth, { step, from: feedWidth }), {
    ...{ engine, activation, out: gate() },
  });
  return gate;
}

/** A layer: the stream becomes that of the next. */
function* runLayer(now: Layer, rows: number): Steps {
  const { plan: { block }, layer, engine } = now, { x, h, context } = tensorsOf(now, rows);
  const isAround = block === "around", isAfter = block === "after";
  /** What comes out of a part is added to the stream: at once, or after a norm of it, or before one of the sum. */
  const join = (from: Tensor, last: LinearWeights, norm: NormWeights | undefined) => {
    if (isAround) {
      project(from, last, h(), now);
      normalise(h(), norm, h(), now);
      addSync(x(), h(), { engine, out: x() });
    } else {
      const residual = x();
      project(from, last, isAfter ? h() : residual, now, { residual });
      if (isAfter) normalise(h(), norm, x(), now);
    }
  };
  /** What a part reads. */
  const enter = (norm: NormWeights | undefined) => {
    if (isAfter || norm === undefined) return x();
    normalise(x(), norm, h(), now);
    return h();
  };
  yield* attend(now, enter(layer.attentionNorm), rows);
  join(context(), layer.output, isAround ? layer.attentionAfter : layer.attentionNorm);
  yield;
  const inner = yield* widen(now, enter(layer.feedNorm), rows);
  join(inner(), layer.down, isAround ? layer.feedAfter : layer.feedNorm);
  yield;
}

/** Tokens, and what is added to them by their positions. */
function embed(running: Running, { ids, positions }: Pass): void {
  const { weights: { tokens, places, embeddingNorm }, engine } = running;
  const { x, h } = tensorsOf(running, ids.length);
  tokens.write(ids, x(), engine);
  if (places !== undefined) {
    const rows = places.shape[0] === 1 ? new Int32Array(ids.length) : positions;
    embeddingSync(rows, places, { engine, out: h() });
    addSync(x(), h(), { engine, out: x() });
  }
  normalise(x(), embeddingNorm, x(), running);
}

/**
 * Runs a pass. Its states are then the first rows of `x`.
 *
 * @returns What gives them, wherever they are by now.
 */
export function* forward(running: Running, pass: Pass): Generator<void, () => Tensor> {
  const rows = pass.ids.length, { space, weights, backend } = running;
  space.reserve(rows);
  embed(running, pass);
  yield;
  const rotations = new Rotations(backend, pass.positions);
  for (const [at, layer] of weights.layers.entries()) {
    yield* runLayer({ ...running, pass, layer, at, rotations }, rows);
  }
  const { x } = tensorsOf(running, rows);
  normalise(x(), weights.finalNorm, x(), running);
  return x;
}
