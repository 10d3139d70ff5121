/**
 * The plan: what a call means, decided once. Backends execute plans and know no options.
 *
 * @module
 */

import type { AttentionOptions } from "./options.ts";
import type { BooleanTensor } from "./options.ts";
import { type AnyTensor, type AnyView, isOnHost, type Tensor, type View } from "./tensor.ts";
import { checkInputs, checkLengths, checkOffsets, checkOptions, checkOut } from "./validate.ts";

/** Keys `aligned - left <= j <= aligned + right` are seen; `Infinity` is open. */
export interface Band {
  readonly left: number;
  readonly right: number;
}

/** A checked call of `attention()`, with every default filled in. */
export interface AttentionPlan<V extends AnyView = AnyView> {
  readonly batch: number;
  readonly queryHeads: number;
  readonly keyHeads: number;
  /** Query heads per key/value head: head `h` reads key/value head `floor(h / group)`. */
  readonly group: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
  readonly valueDim: number;
  readonly q: V;
  readonly k: V;
  readonly v: V;
  /** Where the caller wants the result; `null` for a tensor of its own, stored as `q` is. */
  readonly out: V | null;
  /** Shape of the result as the caller sees it. */
  readonly outShape: readonly number[];
  /** Shape of `lse` as the caller sees it; `null` when it is not asked for. */
  readonly lseShape: readonly number[] | null;
  readonly scale: number;
  /** Query `i` of batch `b` is aligned with key `i + offsets[b]`. */
  readonly offsets: readonly number[];
  readonly band: Band;
  /** Keys of each batch that count; `null` where all do. */
  readonly keyLengths: readonly number[] | null;

  // Decided here once they are executed; until then always null.
  readonly softcap: number | null;
  readonly slopes: Tensor | null;
  readonly bias: Tensor | null;
  readonly mask: BooleanTensor | null;
  readonly sinks: Tensor | null;
  readonly sequences: { readonly q: Int32Array; readonly k: Int32Array } | null;
  readonly blockMask: unknown;
}

/** A plan whose tensors are all in arrays. */
export type HostPlan = AttentionPlan<View>;

/** The tensors of a plan by name. */
export function tensorsOf({ q, k, v, out }: AttentionPlan): [name: string, view: AnyView][] {
  return [
    ["q", q],
    ["k", k],
    ["v", v],
    ...(out === null ? [] : [["out", out] as [string, AnyView]]),
  ];
}

/** Whether all tensors of a plan are in arrays. */
export function isHostPlan(plan: AttentionPlan): plan is HostPlan {
  return tensorsOf(plan).every(([, view]) => isOnHost(view));
}

/** Query rows over all batches and heads: what progress is counted in. */
export function countRows({ batch, queryHeads, queries }: AttentionPlan): number {
  return batch * queryHeads * queries;
}

function bandOf(causal: boolean, window: AttentionOptions["window"]): Band {
  const [left, right] = window ?? [null, null];
  return { left: left ?? Infinity, right: Math.min(right ?? Infinity, causal ? 0 : Infinity) };
}

/** Keys of a batch that count. */
export function keysOfBatch({ keyLengths, keys }: AttentionPlan, batch: number): number {
  return keyLengths === null ? keys : keyLengths[batch];
}

/** Checks a call and decides what it means. */
export function planAttention(
  q: AnyTensor,
  k: AnyTensor,
  v: AnyTensor,
  options: AttentionOptions = {},
): AttentionPlan {
  checkOptions(options);
  const { causal = false, layout = "bhnd" } = options;
  const inputs = checkInputs(q, k, v, layout);
  const [batch, queryHeads, queries, dim] = inputs.q.shape;
  const [, keyHeads, keys] = inputs.k.shape;
  const valueDim = inputs.v.shape[3];
  const outShape = [...q.shape.slice(0, -1), valueDim];
  const lseShape = [batch, queryHeads, queries].slice(4 - inputs.rank);
  const aligned = causal === "top-left" ? 0 : keys - queries;
  return Object.freeze({
    batch,
    queryHeads,
    keyHeads,
    group: queryHeads / keyHeads,
    queries,
    keys,
    dim,
    valueDim,
    q: inputs.q,
    k: inputs.k,
    v: inputs.v,
    out: options.out === undefined ? null : checkOut(options.out, outShape, layout),
    outShape,
    lseShape: options.lse ? lseShape : null,
    scale: options.scale ?? 1 / Math.sqrt(dim),
    offsets: checkOffsets(options.offset, batch, aligned),
    band: bandOf(causal !== false, options.window),
    softcap: null,
    slopes: null,
    bias: null,
    mask: null,
    sinks: null,
    keyLengths: checkLengths(options.kvLengths, batch, keys),
    sequences: null,
    blockMask: null,
  });
}
