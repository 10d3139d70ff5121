/**
 * Cascade attention: a prefix that all sequences share is attended to once for the whole batch, what
 * each has of its own apart, and the two are merged exactly.
 *
 * @module
 */

import { readTensor } from "../check/tensors.ts";
import { checkLayoutName, checkOneOf, readOptions } from "../check/words.ts";
import type { Backend, Machinery } from "../contract/backend.ts";
import { attention, runUsedAttention } from "../operations/attention/operation.ts";
import type { AttentionOptions, CacheAttentionOptions } from "../operations/attention/options.ts";
import { type AttentionCall, readAttention } from "../operations/attention/plan.ts";
import type {
  AttentionResult,
  AttentionResultWithLse,
  OwnData,
} from "../operations/attention/result.ts";
import type { Storage } from "../operations/call.ts";
import { type MergeCall, runMerge } from "../operations/merge/operation.ts";
import { HeldArray } from "../tensor/arrays.ts";
import { type Elements, isGpuBuffer, type TensorData } from "../tensor/dtype.ts";
import { useAll } from "../tensor/lending.ts";
import {
  type AnyTensor,
  contiguousStrides,
  copyView,
  type ReadTensor,
  sizeOf,
  type Tensor,
  type View,
  viewOf,
} from "../tensor/tensor.ts";
import {
  backendOf,
  isCache,
  isOthersCache,
  type KvCache,
  lockCache,
  pagedOf,
  readCacheCall,
} from "./kv_cache.ts";

/** Keys and values of a part of the tokens: in a cache, or as tensors. */
export type CascadePart = KvCache | { readonly k: AnyTensor; readonly v: AnyTensor };

/** Options of `cascadeAttention()`: those that do not ask how far a key is. */
export type CascadeOptions = Pick<
  AttentionOptions,
  "causal" | "scale" | "softcap" | "sinks" | "layout" | "lse" | "signal"
>;

/** What the messages of a cascade begin with. */
export const cannot = "Cannot attend in a cascade";

/** Every option, by name. */
export const cascadeNames = [
  "causal",
  "scale",
  "softcap",
  "sinks",
  "layout",
  "lse",
  "signal",
] as const;

/** A part as it was read. */
type ReadPart = KvCache | { readonly k: ReadTensor; readonly v: ReadTensor };

function readPart(name: string, part: CascadePart): ReadPart {
  if (isCache(part)) {
    if (pagedOf(part).kept === undefined) return part;
    throw new TypeError(`${cannot}: \`${name}\` is a cache that drops tokens by \`keepLast\``);
  }
  if (isOthersCache(part)) {
    throw new TypeError(
      `${cannot}: \`${name}\` is a cache of another copy of the library; make it with an engine of this one`,
    );
  }
  const { k, v } = Object(part) as { k: AnyTensor; v: AnyTensor };
  const read = (which: string, given: AnyTensor) => {
    const tensor = readTensor(`${name}.${which}`, given, cannot);
    if (tensor.shape.length === 4) return tensor;
    throw new RangeError(
      `${cannot}: \`${name}.${which}\` must have rank 4 as \`q\` has, got [${tensor.shape}]`,
    );
  };
  return { k: read("k", k), v: read("v", v) };
}

/** A tensor `[B, H, N, D]` whose batches are rows behind one another: `[1, H, B * N, D]`. */
function joinBatches(q: ReadTensor): ReadTensor {
  const [B, H, N, D] = q.shape, [b, h, n, d] = q.strides ?? contiguousStrides(q.shape);
  const shape = [1, H, B * N, D];
  if (B === 1 || N === 1 || b === N * n) {
    return { ...q, shape, strides: [0, h, N === 1 ? b : n, d] };
  }
  if (isGpuBuffer(q.data)) {
    throw new RangeError(
      `${cannot}: batches of more than one query must lie behind one another on a GPU, ` +
        'as they do in layout "bnhd"',
    );
  }
  const from = viewOf(q, "bhnd") as View;
  const elements = new (q.dtype === "f32" ? Float32Array : Uint16Array)(sizeOf(shape));
  const strides = contiguousStrides(shape), data = new HeldArray<Elements>(elements);
  const joined = { data, dtype: q.dtype, shape, strides, offset: 0 };
  const to = viewOf(joined, "bhnd");
  for (let batch = 0; batch < B; batch++) {
    const one = (view: View, offset: number): View => ({
      ...view,
      shape: [1, H, N, D],
      offset: view.offset + offset,
    });
    copyView(one(from, batch * b), one(to, batch * N * D));
  }
  return joined;
}

/** A tensor of layout `"bnhd"` with its axes as in `"bhnd"`. */
function swapAxes(tensor: ReadTensor): ReadTensor {
  const { shape, strides = contiguousStrides(shape) } = tensor;
  const swap = ([b, h, n, d]: readonly number[]) => [b, n, h, d];
  return { ...tensor, shape: swap(shape), strides: swap(strides) };
}

/** The two calls that a cascade consists of, and what becomes of their results. */
interface CascadeCall {
  readonly shared: AttentionCall;
  readonly own: AttentionCall;
  /** Backends that keep the parts, where these are caches. */
  readonly prefix: Backend | undefined;
  readonly suffix: Backend | undefined;
  /** How the result is stored, its shapes as the caller's layout has them, and whether it has `lse`. */
  readonly storage: Storage;
  readonly layout: "bhnd" | "bnhd";
  readonly lse: boolean;
}

/** Reads a cascade, whose caches must not change meanwhile. */
function readCascade(
  q: AnyTensor,
  prefix: CascadePart,
  suffix: CascadePart,
  options: CascadeOptions,
): CascadeCall {
  const given = readOptions(options, cascadeNames, cannot);
  const { causal, scale, softcap, sinks, lse = false, layout = "bhnd", signal } = given;
  const common = { scale, softcap, signal };
  checkLayoutName(layout, cannot);
  checkOneOf("lse", lse, [true, false], cannot);
  const read = readTensor("q", q, cannot);
  const [first, second] = [readPart("prefix", prefix), readPart("suffix", suffix)];
  if (read.shape.length !== 4) {
    throw new RangeError(`${cannot}: \`q\` must have rank 4, [B, H, N, D], got [${read.shape}]`);
  }
  const arrange = layout === "bnhd" ? swapAxes : (same: ReadTensor) => same;
  const queries = arrange(read);
  const readCall = (rows: ReadTensor, part: ReadPart, asked: AttentionOptions) => {
    const withLse = { ...asked, lse: true };
    const call = isCache(part)
      ? readCacheCall(part, rows, withLse as CacheAttentionOptions)
      : readAttention(rows, arrange(part.k), arrange(part.v), withLse);
    // Rounded once, at the end.
    return { ...call, storage: { ...call.storage, dtype: "f32" as const } };
  };
  // A sink is seen once: with the prefix.
  const shared = readCall(joinBatches(queries), first, { ...common, sinks });
  const own = readCall(queries, second, { ...common, causal });
  return {
    ...{ shared, own, layout, lse },
    prefix: isCache(first) ? backendOf(first) : undefined,
    suffix: isCache(second) ? backendOf(second) : undefined,
    storage: { dtype: read.dtype, like: read.data },
  };
}

/** Attends to a prefix and to suffixes, and merges. */
export async function runCascade<Data extends TensorData>(
  asked: Machinery | Promise<Machinery>,
  q: Tensor<Data>,
  prefix: CascadePart,
  suffix: CascadePart,
  options: CascadeOptions = {},
): Promise<AttentionResult<OwnData<Data>>> {
  const unlock: (() => void)[] = [];
  const made: AttentionResultWithLse<Data>[] = [];
  let leave = () => {};
  try {
    // One by one: where the second was freed, the first must not stay locked.
    for (const part of [prefix, suffix]) if (isCache(part)) unlock.push(lockCache(part, "attend"));
    const call = readCascade(q, prefix, suffix, options);
    leave = useAll(
      [call.shared, call.own].flatMap(({ plan }) => Object.values(attention.inputs(plan))),
    );
    for (const [keeps, part] of [[call.prefix, call.shared], [call.suffix, call.own]] as const) {
      made.push(await runUsedAttention(keeps ?? asked, part) as AttentionResultWithLse<Data>);
    }
    const merged = await runMerge<Data>(asked, mergeOf(call, made));
    if (call.lse) return merged;
    discard(merged.lse);
    return { out: merged.out };
  } finally {
    leave();
    for (const { out, lse } of made) [out, lse].forEach(discard);
    for (const end of unlock) end();
  }
}

/** How the results of both calls are merged. */
function mergeOf(
  { own, storage, layout }: CascadeCall,
  [shared, suffix]: readonly AttentionResultWithLse<TensorData>[],
): MergeCall {
  const { batch, queryHeads, queries, valueDim } = own.plan;
  // Both are contiguous, and the rows of all sequences lie behind one another in the first.
  const rows = (tensor: AnyTensor, width: number, batchStride: number, headStride: number) =>
    viewOf({
      ...tensor,
      shape: [batch, queryHeads, queries, width],
      strides: [batchStride * width, headStride * width, width, 1],
    }, "bhnd");
  const parts = [[shared, queries, batch * queries], [suffix, queryHeads * queries, queries]]
    .map((part) => {
      const [{ out, lse }, b, h] = part as [AttentionResultWithLse<TensorData>, number, number];
      return { out: rows(out, valueDim, b, h), lse: rows(lse as AnyTensor, 1, b, h) };
    });
  const outShape = layout === "bhnd"
    ? [batch, queryHeads, queries, valueDim]
    : [batch, queries, queryHeads, valueDim];
  const lseShape = [batch, queryHeads, queries];
  return { parts: parts as unknown as MergeCall["parts"], storage, layout, outShape, lseShape };
}

/** Frees a result of ours, where that does not happen by itself. */
function discard({ data }: AnyTensor): void {
  if (isGpuBuffer(data)) data.destroy();
}
