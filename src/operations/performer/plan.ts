/**
 * What a call of performer attention means: read once, checked.
 *
 * @module
 */

import { readInputs, readOut, readTensor } from "../../check/tensors.ts";
import {
  bare,
  checkLayoutName,
  checkOneOf,
  isWhole,
  kindOf,
  mostDims,
  readOptions,
} from "../../check/words.ts";
import type { Control } from "../../contract/backend.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import type { Elements } from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import {
  type AnyTensor,
  type AnyView,
  contiguousStrides,
  type Extents,
  type Layout,
  type ReadData,
  type ReadTensor,
  type View,
  viewOf,
} from "../../tensor/tensor.ts";
import { checkApart } from "../apart.ts";
import {
  cannotOf,
  featureNames,
  type PerformerFeatures,
  type PerformerKernel,
  performerNames,
  type PerformerOptions,
  type PerformerProjectionOptions,
  type PerformerStepOptions,
  projectionNames,
  stepNames,
} from "./options.ts";
import { keptProjection, usualFeatures } from "./projection.ts";

/** Sizes and meaning that calls and states have alike. */
export interface PerformerShape<V extends AnyView = AnyView> {
  readonly batch: number;
  readonly queryHeads: number;
  readonly keyHeads: number;
  /** Query heads per key/value head. */
  readonly group: number;
  readonly dim: number;
  readonly valueDim: number;
  readonly features: number;
  /** `[1, Hkv, features, D]`, with stride 0 along heads that share it. */
  readonly projection: V;
  readonly kernel: PerformerKernel;
  readonly scale: number;
}

/** A checked call, with every default filled in. */
export interface PerformerPlan<V extends AnyView = AnyView> extends PerformerShape<V> {
  readonly queries: number;
  readonly keys: number;
  readonly causal: boolean;
  readonly q: V;
  readonly k: V;
  readonly v: V;
  /** Where the caller wants the result; `null` for a tensor of its own, stored as `q` is. */
  readonly out: V | null;
  /** How the caller wrote it: results are written alike. */
  readonly written: Written;
}

/** Order and shapes of what a caller handed over. */
export interface Written {
  readonly layout: Layout;
  readonly q: readonly number[];
  readonly k: readonly number[];
  readonly v: readonly number[];
  readonly out: readonly number[];
}

/** A call as it was read: nothing of it is read from the caller's objects again. */
export interface PerformerCall {
  readonly plan: PerformerPlan;
  readonly control: Control;
  /** The caller's tensor for the result, to be handed back; `null` where it gave none. */
  readonly given: AnyTensor | null;
}

/** Numbers of a projection of one head, at most. */
const mostNumbers = 2 ** 26;

/** Options that say which features there are, as they were read. */
export interface ReadFeatures extends PerformerFeatures {
  /** A projection by itself, as it was read. */
  readonly read: ReadTensor | null;
}

function readWhole(name: string, value: unknown, least: number, doing: string): void {
  if (value === undefined) return;
  if (typeof value !== "number") {
    throw new TypeError(`${doing}: \`${name}\` must be a number, got ${kindOf(value)}`);
  }
  if (isWhole(value) && value >= least) return;
  throw new RangeError(
    `${doing}: \`${name}\` must be a whole number >= ${least}, got ${kindOf(value)}`,
  );
}

function checkScale(scale: unknown, doing: string): void {
  if (scale === undefined) return;
  if (typeof scale !== "number") {
    throw new TypeError(`${doing}: \`scale\` must be a number, got ${kindOf(scale)}`);
  }
  if (scale >= 0 && Number.isFinite(Math.fround(scale))) return;
  throw new RangeError(
    `${doing}: \`scale\` must be finite in f32 and at least 0, since its root is taken, got ${scale}`,
  );
}

/** Reads what says which features there are. */
export function readFeatures(options: PerformerFeatures, doing: string): ReadFeatures {
  return checkFeatures(readOptions(options, featureNames, doing), doing);
}

function checkFeatures(given: PerformerFeatures, doing: string): ReadFeatures {
  const { features, seed, projection, kernel, scale, layout } = given;
  readWhole("features", features, 1, doing);
  readWhole("seed", seed, 0, doing);
  checkOneOf("kernel", kernel, ["softmax", "relu"], doing);
  checkScale(scale, doing);
  checkLayoutName(layout, doing);
  if (projection === undefined) return bare<ReadFeatures>(given, { read: null });
  if (seed !== undefined) {
    throw new RangeError(
      `${doing}: \`seed\` is for features of ours, leave it out with \`projection\``,
    );
  }
  const read = readTensor("projection", projection, doing, true), { shape } = read;
  if (shape.length === 2 || shape.length === 3) return bare<ReadFeatures>(given, { read });
  throw new RangeError(
    `${doing}: \`projection\` must have shape [features, D] or [Hkv, features, D], got [${shape}]`,
  );
}

/** What is known of heads once tensors are read. */
interface Heads {
  readonly keyHeads: number;
  readonly dim: number;
  readonly valueDim: number;
}

/** Features of heads of these sizes. */
export function planFeatures(
  given: ReadFeatures,
  heads: Heads,
  doing: string,
): Pick<PerformerShape, "features" | "projection" | "kernel" | "scale"> {
  const { read, kernel = "softmax", seed = 0 } = given, { dim, valueDim, keyHeads } = heads;
  const features = countFeatures(given, dim, doing);
  checkNumbers(features, dim, valueDim, doing);
  const projection = read === null
    ? ownProjection(features, heads, seed)
    : givenProjection(read, keyHeads, dim, doing);
  return { features, projection, kernel, scale: given.scale ?? 1 / Math.sqrt(dim) };
}

function checkNumbers(features: number, dim: number, valueDim: number, doing: string): void {
  if (features * Math.max(dim, valueDim) <= mostNumbers) return;
  throw new RangeError(
    `${doing}: \`features\` times D and Dv must be at most ${mostNumbers}, got ${features} times ` +
      `${Math.max(dim, valueDim)}`,
  );
}

function countFeatures({ read, features }: ReadFeatures, dim: number, doing: string): number {
  if (read === null) return features ?? usualFeatures(dim);
  const own = read.shape.at(-2)!;
  if (own < 1) {
    throw new RangeError(
      `${doing}: \`projection\` must have at least one feature, got [${read.shape}]`,
    );
  }
  if (features === undefined || features === own) return own;
  throw new RangeError(
    `${doing}: \`projection\` has ${own} features, \`features\` says ${features}: leave it out`,
  );
}

function givenProjection(
  read: ReadTensor,
  keyHeads: number,
  dim: number,
  doing: string,
): AnyView {
  const { shape } = read, isShared = shape.length === 2;
  const fits = shape.at(-1) === dim && (isShared || shape[0] === keyHeads);
  if (!fits) {
    throw new RangeError(
      `${doing}: \`projection\` must have shape [features, D] or [Hkv, features, D] with D = ${dim} ` +
        `and Hkv = ${keyHeads}, got [${shape}]`,
    );
  }
  const view = viewOf(read, "bhnd"),
    [, , features] = view.shape,
    [, head, row, element] = view.strides;
  return {
    ...view,
    shape: [1, keyHeads, features, dim],
    strides: [0, isShared ? 0 : head, row, element],
  } as AnyView;
}

function ownProjection(features: number, { keyHeads, dim }: Heads, seed: number): View {
  const numbers = dim <= mostDims ? keptProjection(features, dim, seed) : new Float32Array(0);
  const shape: Extents = [1, keyHeads, features, dim], [, , row] = contiguousStrides(shape);
  return {
    data: new HeldArray<Elements>(numbers),
    dtype: "f32",
    offset: 0,
    shape,
    strides: [0, 0, row, 1],
  };
}

function checkCausal(q: Extents, k: Extents, doing: string): void {
  if (q[2] === k[2]) return;
  throw new RangeError(
    `${doing}: \`causal\` needs as many queries as keys, row i sees keys up to i, ` +
      `got Nq = ${q[2]} and Nk = ${
        k[2]
      }; to go on from earlier keys use \`createPerformerState()\``,
  );
}

/** All tensors of a call, for who says that they are in use. */
export function usedBy(
  { q, k, v, projection, out }: PerformerPlan,
): Record<string, AnyView | null> {
  return { q, k, v, projection, out };
}

/** What a call is asked besides its features. */
type Asked = Pick<PerformerOptions, "causal" | "out" | "signal">;

/** Three tensors as a caller wrote them. */
type GivenTensors = readonly [q: AnyTensor, k: AnyTensor, v: AnyTensor];

/** Reads a call and decides what it means. */
export function readPerformer(
  tensors: GivenTensors,
  options: PerformerOptions,
  doing: string,
): PerformerCall {
  const given = readOptions(options, performerNames, doing);
  checkOneOf("causal", given.causal, [true, false], doing);
  return readCall(tensors, checkFeatures(given, doing), given, doing);
}

/** Reads a step of a state of such features. */
export function readStep(
  tensors: GivenTensors,
  options: PerformerStepOptions,
  features: ReadFeatures,
): PerformerCall {
  const given = readOptions(options, stepNames, cannotOf.step);
  return readCall(tensors, features, bare<Asked>(given, { causal: true }), cannotOf.step);
}

function readCall(
  tensors: GivenTensors,
  given: ReadFeatures,
  { causal = false, out: asked, signal }: Asked,
  doing: string,
): PerformerCall {
  const { layout = "bhnd" } = given, { q, k, v, shapes } = readInputs(...tensors, layout, doing);
  const [batch, queryHeads, queries, dim] = q.shape, [, keyHeads, keys] = k.shape;
  if (causal) checkCausal(q.shape, k.shape, doing);
  const valueDim = v.shape[3], outShape = [...shapes.q.slice(0, -1), valueDim];
  const out = asked === undefined ? null : readOut(asked, outShape, layout, doing);
  // What was read may have been a function of the caller's, that frees what was read before it.
  useAll([q, k, v, out])();
  const featured = planFeatures(given, { keyHeads, dim, valueDim }, doing);
  if (out !== null) checkApart(out, { q, k, v, projection: featured.projection }, doing);
  const plan: PerformerPlan = Object.freeze({
    ...{ batch, queryHeads, keyHeads, group: queryHeads / keyHeads, queries, keys, dim, valueDim },
    ...featured,
    ...{ causal, q, k, v, out },
    written: { layout, q: shapes.q, k: shapes.k, v: shapes.v, out: outShape },
  });
  return { plan, control: { signal }, given: asked ?? null };
}

/** Reads what projection is asked for by itself. */
export function readProjection(
  options: PerformerProjectionOptions,
): { readonly features: number; readonly dim: number; readonly numbers: Float32Array } {
  const doing = cannotOf.performerProjection, given = readOptions(options, projectionNames, doing);
  const { dim, features = usualFeatures(dim), seed = 0 } = given;
  if (dim === undefined) {
    throw new TypeError(`${doing}: \`dim\` must be the D of queries and keys, got undefined`);
  }
  readWhole("dim", dim, 1, doing);
  readWhole("features", features, 1, doing);
  readWhole("seed", seed, 0, doing);
  checkNumbers(features, dim, dim, doing);
  return { features, dim, numbers: keptProjection(features, dim, seed) };
}

/** Query rows over all batches and heads: what progress is counted in. */
export function countRows({ batch, queryHeads, queries }: PerformerPlan): number {
  return batch * queryHeads * queries;
}

/** How a result is stored that has a tensor of its own. */
export function storageOf(
  { q }: PerformerPlan,
): { readonly like: ReadData; readonly dtype: AnyView["dtype"] } {
  return { like: q.data, dtype: q.dtype };
}
