/**
 * Cascade attention: a prefix that all sequences share is attended to once for the whole batch, what
 * each has of its own apart, and the two are merged exactly.
 *
 * @module
 */

import type { AttentionResult, AttentionResultWithLse } from "./attention.ts";
import { KvCache } from "./cache/kv_cache.ts";
import { type HostData, isGpuBuffer, type TensorData, zerosLike } from "./dtype.ts";
import type { Engine } from "./engine.ts";
import type { AttentionOptions } from "./options.ts";
import {
  type AnyTensor,
  contiguousStrides,
  copyView,
  type HostTensor,
  sizeOf,
  type Tensor,
  type View,
  viewOf,
} from "./tensor.ts";
import { checkTensor } from "./validate/tensors.ts";
import { checkKeys, checkLayoutName } from "./validate/words.ts";

/** Keys and values of a part of the tokens: in a cache, or as tensors. */
export type CascadePart = KvCache | { readonly k: AnyTensor; readonly v: AnyTensor };

/** Options of `engine.cascadeAttention()`: those that do not ask how far a key is. */
export type CascadeOptions = Pick<
  AttentionOptions,
  "causal" | "scale" | "softcap" | "sinks" | "layout" | "lse" | "signal"
>;

const cannot = "Cannot attend in a cascade";

const optionNames = ["causal", "scale", "softcap", "sinks", "layout", "lse", "signal"];

function checkPart(name: string, part: CascadePart): void {
  if (part instanceof KvCache) return;
  const { k, v } = Object(part) as { k: AnyTensor; v: AnyTensor };
  for (const [which, tensor] of [["k", k], ["v", v]] as const) {
    checkTensor(`${name}.${which}`, tensor, cannot);
    if (tensor.shape.length === 4) continue;
    throw new RangeError(
      `${cannot}: \`${name}.${which}\` must have rank 4 as \`q\` has, got [${tensor.shape}]`,
    );
  }
}

/** A tensor `[B, H, N, D]` whose batches are rows behind one another: `[1, H, B * N, D]`. */
function fold<Data extends TensorData>(q: Tensor<Data>): Tensor<Data> {
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
  const folded = { ...q, data: zerosLike(q.data as HostData, sizeOf(shape)), shape, offset: 0 };
  const from = viewOf(q as HostTensor, "bhnd");
  const to = viewOf({ ...folded, strides: undefined } as HostTensor, "bhnd");
  for (let batch = 0; batch < B; batch++) {
    const one = (view: View, offset: number): View => ({
      ...view,
      shape: [1, H, N, D],
      offset: view.offset + offset,
    });
    copyView(one(from, batch * b), one(to, batch * N * D));
  }
  return { ...folded, strides: contiguousStrides(shape) } as unknown as Tensor<Data>;
}

/** What was folded, as it was: `[B, H, N, ...]` from contiguous `[1, H, B * N, ...]`. */
function unfold<T extends AnyTensor>(result: T, batch: number, N: number): T {
  const [, H, rows, ...rest] = result.shape, width = sizeOf(rest);
  const strides = [N * width, rows * width, width, ...rest.map(() => 1)];
  return { ...result, shape: [batch, H, N, ...rest], strides };
}

/** A tensor of layout `"bnhd"` with its axes as in `"bhnd"`, and back. */
function swapAxes<T extends AnyTensor>(tensor: T): T {
  const { shape, strides = contiguousStrides(shape) } = tensor;
  const swap = ([b, h, n, d]: readonly number[]) => [b, n, h, d];
  return { ...tensor, shape: swap(shape), strides: swap(strides) };
}

async function attendTo<Data extends TensorData>(
  engine: Engine,
  q: Tensor<Data>,
  part: CascadePart,
  options: AttentionOptions,
): Promise<AttentionResultWithLse<Data>> {
  const asked = { ...options, lse: true } as const;
  return part instanceof KvCache
    ? await part.attend(q, asked)
    : await engine.attention(q, part.k, part.v, asked);
}

/** Attends to a prefix and to suffixes, and merges. */
export async function runCascade<Data extends TensorData>(
  engine: Engine,
  q: Tensor<Data>,
  prefix: CascadePart,
  suffix: CascadePart,
  options: CascadeOptions = {},
): Promise<AttentionResult<Data>> {
  checkKeys(options, optionNames, cannot);
  const { causal, lse, layout = "bhnd", sinks, ...common } = options;
  checkLayoutName(layout, cannot);
  checkTensor("q", q, cannot);
  checkPart("prefix", prefix);
  checkPart("suffix", suffix);
  if (q.shape.length !== 4) {
    throw new RangeError(`${cannot}: \`q\` must have rank 4, [B, H, N, D], got [${q.shape}]`);
  }
  const arrange = layout === "bnhd" ? swapAxes : <T>(same: T) => same;
  const arrangePart = (part: CascadePart): CascadePart =>
    part instanceof KvCache ? part : { k: arrange(part.k), v: arrange(part.v) };
  const queries = arrange(q), [batch, , rows] = queries.shape;
  const made: AttentionResultWithLse<Data>[] = [];
  try {
    // A sink is seen once: with the prefix.
    const shared = await attendTo(engine, fold(queries), arrangePart(prefix), { ...common, sinks });
    made.push(shared);
    const own = await attendTo(engine, queries, arrangePart(suffix), { ...common, causal });
    made.push(own);
    const parts = [
      { out: unfold(shared.out, batch, rows), lse: unfold(shared.lse as AnyTensor, batch, rows) },
      own,
    ];
    const merged = await engine.mergeAttention(
      parts.map(({ out, lse }) => ({ out: arrange(out), lse })) as (typeof own)[],
      { layout },
    );
    if (lse) return merged;
    discard(merged.lse);
    return { out: merged.out };
  } finally {
    for (const { out, lse } of made) [out, lse].forEach(discard);
  }
}

/** Frees a result of ours, where that does not happen by itself. */
function discard({ data }: AnyTensor): void {
  if (isGpuBuffer(data)) data.destroy();
}
