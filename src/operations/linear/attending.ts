/**
 * What functions have in common that attend to keys which they make of those given: their options, and the plan of
 * attention to what is made.
 *
 * @module
 */

import { readInputs, readOut } from "../../check/tensors.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import type { AnyTensor, AnyView } from "../../tensor/tensor.ts";
import { readAttentionOptions } from "../attention/check/options.ts";
import type { AttentionOptions } from "../attention/options.ts";
import type { AttentionCall, TensorPlan } from "../attention/plan.ts";
import { type Segment, segmentsOf } from "../attention/segments.ts";

/** Options of all of them. */
export interface AttendingOptions
  extends Pick<AttentionOptions, "scale" | "lse" | "layout" | "signal" | "out"> {}

/** Their names. */
export const attendingNames = [
  "scale",
  "lse",
  "layout",
  "signal",
  "out",
] as const satisfies readonly (keyof AttendingOptions)[];

/** Tensors of a call as the caller gave them. */
export type Given = readonly [q: AnyTensor, k: AnyTensor, v: AnyTensor];

/** What such a call is, but for the keys that it makes. */
export interface AttendingPlan<V extends AnyView = AnyView> {
  /** Attention to what is made; its `kv` are the keys and values that are given. */
  readonly forward: TensorPlan<V>;
}

/** A call as it was read. */
export interface AttendingCall<Plan extends AttendingPlan>
  extends Omit<AttentionCall<TensorPlan>, "plan"> {
  readonly plan: Plan;
}

/** Reads options, once. */
export function readAttending<Options extends AttendingOptions>(
  options: Options,
  names: readonly (keyof Options & string)[],
  doing: string,
): Options {
  return readAttentionOptions(options, names, doing);
}

/** The same where gradients are asked for, which need it. */
export function withLse<Options extends AttendingOptions>(options: Options): Options {
  return typeof options === "object" && options !== null ? { ...options, lse: true } : options;
}

/** Every query of a batch against so many keys, aligned from the last on. */
export function segmentsFor(
  { batch, queries }: Pick<TensorPlan, "batch" | "queries">,
  keys: number,
): readonly Segment[] {
  const ends = { topLeft: false, packed: null, offsets: null, lengths: null };
  return segmentsOf({ batch, queries, keys, ...ends });
}

/** The plan of attention to the keys that are given. */
export function planAttending(
  [q, k, v]: Given,
  { layout = "bhnd", scale, out, lse }: AttendingOptions,
  doing: string,
): TensorPlan {
  const inputs = readInputs(q, k, v, layout, doing), { shapes } = inputs;
  const [batch, queryHeads, queries, dim] = inputs.q.shape, [, keyHeads, keys] = inputs.k.shape;
  const valueDim = inputs.v.shape[3], outShape = [...shapes.q.slice(0, -1), valueDim];
  return {
    ...{ batch, queryHeads, keyHeads, group: queryHeads / keyHeads, queries, keys, dim, valueDim },
    q: inputs.q,
    kv: { kind: "tensors", k: inputs.k, v: inputs.v },
    out: out === undefined ? null : readOut(out, outShape, layout, doing),
    outShape,
    lseShape: lse ? [batch, queryHeads, queries].slice(4 - shapes.q.length) : null,
    scale: scale ?? 1 / Math.sqrt(dim),
    segments: segmentsFor({ batch, queries }, keys),
    packed: false,
    band: { left: Infinity, right: Infinity },
    ...{ softcap: null, slopes: null, bias: null, mask: null, sinks: null, blockMask: null },
    functions: null,
    precision: "f32",
    written: { layout, ...shapes, bias: null },
  };
}

/** Checks that results go to another buffer than what is read. */
function checkOut({ q, kv: { k, v }, out }: TensorPlan, others: readonly AnyView[], doing: string) {
  const isRead = [q, k, v, ...others].some(({ data }) => data === out?.data);
  if (!isRead || !isGpuBuffer(out?.data)) return;
  throw new RangeError(
    `${doing}: \`out\` must be another GPUBuffer than the inputs, ` +
      "a GPU cannot read and write one in one pass",
  );
}

/** What is to become of results, by the plan of a call. */
export function callOf<Plan extends AttendingPlan>(
  plan: Plan,
  { out, signal }: AttendingOptions,
  alsoReads: readonly AnyView[],
  doing: string,
): AttendingCall<Plan> {
  const { forward } = plan, { q } = forward;
  checkOut(forward, alsoReads, doing);
  return {
    plan,
    control: { signal },
    out: out ?? null,
    storage: { dtype: q.dtype, like: forward.out === null ? q.data : forward.out.data },
    alsoReads,
  };
}
