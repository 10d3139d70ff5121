/**
 * mergeAttention(): results over disjoint sets of keys become the result over all of them, exactly.
 *
 * @module
 */

import { checkHeads, checkShapeOf, readRows, readTensor } from "../../check/tensors.ts";
import { checkLayoutName, readOptions } from "../../check/words.ts";
import type { Machinery } from "../../contract/backend.ts";
import type { Operation } from "../../contract/operation.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import {
  type AnyView,
  type Layout,
  type ReadTensor,
  type Tensor,
  viewOf,
} from "../../tensor/tensor.ts";
import type { AttentionResultWithLse, OwnData } from "../attention/result.ts";
import type { Target } from "../attention/target.ts";
import { run, type Storage } from "../call.ts";

const cannot = "Cannot merge";

/** What attention to some of the keys gave. */
export interface AttentionPart<Data extends TensorData = Float32Array> {
  /** `[B, Hq, Nq, Dv]`, of any rank. */
  readonly out: Tensor<Data>;
  /** `[B, Hq, Nq]`, f32. */
  readonly lse: Tensor<Data extends GPUBuffer ? GPUBuffer : Float32Array>;
}

/** Options of `mergeAttention()`. */
export interface MergeOptions {
  /** Order of the axes of each `out`, `"bhnd"` by default; `lse` is `[B, Hq, Nq]` in both. */
  readonly layout?: Layout | undefined;
}

/** Every option, by name. */
export const mergeNames = ["layout"] as const;

/** Results over disjoint keys as they were read. */
export interface MergeCall {
  /** What backends see of each part. */
  readonly parts: readonly Target[];
  /** How the result is stored, and the shapes of its tensors. */
  readonly storage: Storage;
  readonly layout: Layout;
  readonly outShape: readonly number[];
  readonly lseShape: readonly number[];
}

/** One part as it was read. */
interface ReadPart {
  readonly out: ReadTensor;
  readonly view: AnyView;
  readonly lse: ReadTensor;
}

/** Reads a part, which must be like the first. */
function readPart(
  part: unknown,
  name: string,
  first: ReadPart | undefined,
  layout: Layout,
): ReadPart {
  const { out: givenOut, lse: givenLse } = Object(part) as Record<"out" | "lse", unknown>;
  const out = readTensor(`${name}.out`, givenOut, cannot), view = viewOf(out, layout);
  checkHeads(`${name}.out`, view, cannot);
  checkShapeOf(`${name}.out`, out.shape, (first?.out ?? out).shape, cannot);
  const rows = view.shape.slice(4 - out.shape.length, 3), hint = "; ask for it with `lse: true`";
  const lse = readRows(`${name}.lse`, givenLse, rows, cannot, hint);
  const onGpu = isGpuBuffer((first?.out ?? out).data);
  if ([out, lse].some(({ data }) => isGpuBuffer(data) !== onGpu)) {
    const where = onGpu ? "GPUBuffers" : "arrays";
    throw new TypeError(`${cannot}: \`${name}\` must be in ${where} as the first part is`);
  }
  return { out, view, lse };
}

/** Reads parts, and decides what becomes of them. */
export function readMerge(
  parts: readonly AttentionPart<TensorData>[],
  options: MergeOptions = {},
): MergeCall {
  const count = Array.isArray(parts) ? parts.length : 0;
  if (count === 0) {
    throw new TypeError(`${cannot}: \`parts\` must be an array of at least one { out, lse }`);
  }
  const { layout = "bhnd" } = readOptions(options, mergeNames, cannot);
  checkLayoutName(layout, cannot);
  const read: ReadPart[] = [];
  for (let at = 0; at < count; at++) {
    read.push(readPart(parts[at], `parts[${at}]`, read[0], layout));
  }
  const [{ out, view }] = read;
  return {
    parts: read.map(({ view, lse }): Target => ({ out: view, lse: viewOf(lse, "bhnd") }) as Target),
    storage: { dtype: out.dtype, like: out.data },
    ...{ layout, outShape: out.shape },
    lseShape: view.shape.slice(4 - out.shape.length, 3),
  };
}

/**
 * Sums on a GPU that parts are merged into, zero at first, each with what rounding took beside it: weighted
 * values `[B, Hq, Nq, 2 Dv]`, Dv in whole fours; and of each row its level and the sum of weights,
 * `[B, Hq, Nq, 4]`, before a part and after.
 */
export type MergeSums = readonly [acc: AnyView, before: AnyView, after: AnyView];

/** Parts over disjoint keys, and sums that those before are in, where there are such. */
export interface MergePlan {
  readonly parts: readonly Target[];
  readonly sums?: MergeSums;
}

/** The operation. Without a target parts go into the sums alone. */
export const mergeAttention: Operation<MergePlan, Target | null> = {
  name: "mergeAttention",
  cannot,
  inputs: ({ parts }) =>
    Object.fromEntries(parts.flatMap(({ out, lse }, index) => [
      [`parts[${index}].out`, out],
      [`parts[${index}].lse`, lse],
    ])),
  work: () => 0,
  rows: ({ parts: [{ out: { shape: [batch, heads, rows] } }] }) => batch * heads * rows,
};

/** Merges parts that were read. */
export function runMerge<Data extends TensorData>(
  asked: Machinery | Promise<Machinery>,
  { parts, storage, layout, outShape, lseShape }: MergeCall,
): Promise<AttentionResultWithLse<OwnData<Data>>> {
  const result: Promise<unknown> = run(asked, {
    operation: mergeAttention,
    plan: { parts },
    control: {},
    results: {
      out: { ...storage, shape: outShape },
      lse: { ...storage, dtype: "f32", shape: lseShape },
    },
    target({ out, lse }) {
      const column = viewOf({ ...lse, shape: [...lseShape, 1] }, "bhnd");
      return { out: viewOf(out, layout), lse: column } as Target;
    },
    finish: (made) => ({ ...made }),
  });
  return result as Promise<AttentionResultWithLse<OwnData<Data>>>;
}
