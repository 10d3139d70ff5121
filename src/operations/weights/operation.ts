/**
 * attentionWeights(): calls become results.
 *
 * @module
 */

import type { Machinery } from "../../contract/backend.ts";
import { HeldArray } from "../../tensor/arrays.ts";
import { type Elements, isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyTensor, type AnyView, type Extents, viewOf } from "../../tensor/tensor.ts";
import { inputsOfCall, runUsedAttention } from "../attention/operation.ts";
import type { TensorPlan } from "../attention/plan.ts";
import { type Call, type Made, runUsed } from "../call.ts";
import type { WeightsCall } from "./read.ts";
import { type Slice, slicePlan, sliceView } from "./slice.ts";
import {
  attentionWeights,
  type WeightsPart,
  type WeightsPlan,
  type WeightsTarget,
} from "./tokens.ts";

/** Rows whose weights are computed at once, at most: a tile of the kernels. */
const mostRows = 64;

/** A part, and where in the result what it makes is: elements from one batch, head, key, column to the next. */
interface PlacedPart {
  readonly part: WeightsPart;
  readonly strides: Extents;
  readonly offset: number;
}

/** A view of numbers, read where strides say so. */
function viewOfNumbers(numbers: Float32Array, shape: Extents, strides: Extents): AnyView {
  return { data: new HeldArray<Elements>(numbers), dtype: "f32", offset: 0, shape, strides };
}

/** Runs of rows that follow one another. */
function* runsOf(rows: readonly number[]): Generator<Omit<Slice, "head">> {
  for (let at = 0; at < rows.length;) {
    const from = rows[at];
    let to = from;
    while (rows[at] === to && to - from < mostRows) at++, to++;
    yield { from, to };
  }
}

/** The part of a slice whose `dOut` has these columns: numbers for each row, the same for all heads. */
function partOf(
  plan: TensorPlan,
  lse: AnyView,
  slice: Slice,
  columns: number,
  numbers: Float32Array,
): WeightsPart {
  const forward = slicePlan(plan, slice), { batch, queryHeads, keyHeads, keys, queries } = forward;
  const perRow = numbers.length === columns ? 0 : columns;
  const dOut = viewOfNumbers(numbers, [batch, queryHeads, queries, columns], [0, 0, perRow, 1]);
  const none = viewOfNumbers(new Float32Array(1), [batch, keyHeads, keys, columns], [0, 0, 0, 0]);
  return {
    forward: { ...forward, valueDim: columns, kv: { ...forward.kv, v: none } },
    // What delta is no weight depends on.
    ...{ dOut, out: dOut, lse: sliceView(lse, slice), lseRest: null, dLse: null },
  };
}

/** Heads that are looked at by themselves: where keys are others' too, weights would be summed over groups. */
function headsOf({ plan: { group, queryHeads }, heads }: WeightsCall): readonly (number | null)[] {
  if (heads !== null) return heads;
  return group === 1 ? [null] : Array.from({ length: queryHeads }, (_, head) => head);
}

/** The parts of weights: some rows, of one head or of all. */
function* weightsParts(call: WeightsCall, lse: AnyView): Generator<PlacedPart> {
  const { plan } = call, { keys } = plan, rows = rowsOf(call), heads = countHeads(call);
  for (const [at, head] of headsOf(call).entries()) {
    let before = 0;
    for (const { from, to } of runsOf(rows)) {
      const count = to - from, eye = new Float32Array(count * count);
      for (let row = 0; row < count; row++) eye[row * count + row] = 1;
      yield {
        part: partOf(plan, lse, { from, to, head }, count, eye),
        strides: [heads * rows.length * keys, rows.length * keys, 1, keys],
        offset: (at * rows.length + before) * keys,
      };
      before += count;
    }
  }
}

/** The parts of sums over rows: from the first to the last, of which those that are not asked for have a factor of 0. */
function* sumParts(call: WeightsCall, lse: AnyView): Generator<PlacedPart> {
  const { plan, keySums } = call, { keys } = plan, rows = rowsOf(call), heads = countHeads(call);
  if (rows.length === 0) return;
  const from = rows[0], to = rows[rows.length - 1] + 1, isAll = to - from === rows.length;
  const numbers = new Float32Array(isAll ? 1 : to - from).fill(isAll ? 1 : 0);
  if (!isAll) { for (const row of rows) numbers[row - from] = 1; }
  const each = keySums === "kv" ? [null] : headsOf(call);
  for (const [at, head] of each.entries()) {
    yield {
      part: partOf(plan, lse, { from, to, head }, 1, numbers),
      strides: [heads * keys, keys, 1, 1],
      offset: at * keys,
    };
  }
}

/** The rows that are asked for. */
function rowsOf({ rows, plan: { queries } }: WeightsCall): readonly number[] {
  return rows ?? Array.from({ length: queries }, (_, row) => row);
}

/** Heads of the result. */
function countHeads({ heads, keySums, plan: { queryHeads, keyHeads } }: WeightsCall): number {
  return keySums === "kv" ? keyHeads : heads?.length ?? queryHeads;
}

/** The result's shape as the caller sees it. */
function shapeOf(call: WeightsCall): number[] {
  const { plan: { batch, keys, written: { q } }, keySums } = call;
  const rows = keySums ? [] : [rowsOf(call).length];
  return [...[batch, countHeads(call)].slice(4 - q.length), ...rows, keys];
}

/** What becomes of a call whose `lse` is known. */
function placed(
  call: WeightsCall,
  lse: AnyView,
): Call<WeightsPlan, WeightsTarget, Readonly<Record<string, AnyTensor>>> {
  const name = call.keySums ? "keySums" : "weights", { q } = call.plan;
  const all = [...call.keySums ? sumParts(call, lse) : weightsParts(call, lse)];
  return {
    operation: attentionWeights,
    plan: { parts: all.map(({ part }) => part), used: { ...inputsOfCall(call.plan), lse } },
    control: call.control,
    results: { [name]: { like: q.data, dtype: "f32", shape: shapeOf(call) } },
    target: (made: Made) => all.map((one) => targetOf(made[name], one)),
    finish: (made: Made) => made,
  };
}

/** Where a part's results go. */
function targetOf(
  { data }: AnyTensor,
  { part: { forward }, strides, offset }: PlacedPart,
): AnyView {
  const { batch, keyHeads, keys, valueDim } = forward;
  const held = isGpuBuffer(data) ? data : new HeldArray<Elements>(data);
  const shape: Extents = [batch, keyHeads, keys, valueDim];
  return { data: held, dtype: "f32", shape, strides, offset } as AnyView;
}

/** The logarithms of all rows' sums, or of those from the first on that is asked for: attention to one column of the keys. */
async function computeLse(
  asked: Machinery | Promise<Machinery>,
  call: WeightsCall,
): Promise<readonly [AnyView, () => void]> {
  const rows = rowsOf(call), from = rows[0] ?? 0, to = (rows.at(-1) ?? -1) + 1;
  const { plan, control: { signal } } = call, { batch, queryHeads, kv: { k } } = plan;
  const sliced = slicePlan(plan, { from, to, head: null });
  const narrow: AnyView = { ...k, shape: [k.shape[0], k.shape[1], k.shape[2], 1] };
  const { lse, out } = await runUsedAttention(asked, {
    plan: {
      ...{ ...sliced, valueDim: 1, sinks: plan.sinks, kv: { kind: "tensors", k, v: narrow } },
      ...{ outShape: [batch, queryHeads, to - from, 1], lseShape: [batch, queryHeads, to - from] },
      written: { ...plan.written, layout: "bhnd" },
    },
    ...{ control: { signal }, out: null, storage: { dtype: plan.q.dtype, like: plan.q.data } },
  });
  const view = viewOf({ ...lse!, shape: [batch, queryHeads, to - from, 1] }, "bhnd");
  const free = () => {
    for (const { data } of [lse!, out]) if (isGpuBuffer(data)) data.destroy();
  };
  // As if it had the rows before.
  return [{ ...view, offset: 0 - from * view.strides[2] }, free];
}

/** Computes what a call asks for; what it reads is in use until it settles. */
export async function computeWeights(
  asked: Machinery | Promise<Machinery>,
  call: WeightsCall,
): Promise<Readonly<Record<string, AnyTensor>>> {
  if (call.lse !== null) return await runUsed(asked, placed(call, call.lse));
  const [lse, free] = await computeLse(asked, call);
  try {
    return await runUsed(asked, placed(call, lse));
  } finally {
    free();
  }
}
