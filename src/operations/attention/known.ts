/**
 * What functions say that options say, too: it is taken for these, with the same bits, where no such option is given. Loaded
 * where there are functions.
 *
 * @module
 */

import type { Functions } from "../../scores/functions.ts";
import { knownBand, knownScore } from "../../scores/known.ts";
import type { CapturedArray } from "../../scores/kinds.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import { isGpuBuffer } from "../../tensor/dtype.ts";
import { type BroadcastView, contiguousStrides, type Extents } from "../../tensor/tensor.ts";
import type { AttentionPlan } from "./plan.ts";

/** What a score function says so: by names of its own, of which all objects may have others. */
type KnownTerms = Partial<Pick<AttentionPlan, "softcap" | "slopes" | "bias">>;

function slopesOf(functions: Functions, array: CapturedArray, plan: AttentionPlan) {
  const { data } = functions.arrays.get(array)!, { queryHeads, segments } = plan;
  if (isGpuBuffer(data) || array.shape[0] < functions.headsBefore + queryHeads) return undefined;
  const own = (data as HeldArray<Float32Array>).now("a captured array's");
  return Float32Array.from(
    { length: segments.length * queryHeads },
    (_, at) => own[functions.headsBefore + at % queryHeads],
  );
}

/** A table that is read by rows, keys, heads and batches as a bias is; none where some index is beyond it. */
function biasOf(
  functions: Functions,
  array: CapturedArray,
  axes: readonly string[],
  { batch, queryHeads, queries, keys }: AttentionPlan,
): BroadcastView | undefined {
  const names = ["b", "h", "q", "k"], own = contiguousStrides(array.shape);
  const extents: Extents = [batch, queryHeads, queries, keys];
  const isLarge = axes.every((axis, at) => array.shape[at] >= extents[names.indexOf(axis)]);
  if (!isLarge) return undefined;
  const strides = names.map((name) => own[axes.indexOf(name)] ?? 0);
  const { data } = functions.arrays.get(array)!;
  return {
    ...{ shape: extents, strides: strides as unknown as Extents, offset: 0, dtype: "f32" },
    data: data as HeldArray<Float32Array> | GPUBuffer,
  };
}

function termsOf(plan: AttentionPlan, functions: Functions): KnownTerms | undefined {
  const known = functions.score && knownScore(functions.score);
  if (known === undefined || plan.softcap !== null) return undefined;
  if (known.kind === "softcap") return { softcap: known.softcap };
  if (known.kind === "slopes") {
    const slopes = functions.isAligned ? slopesOf(functions, known.array, plan) : undefined;
    return slopes && { slopes };
  }
  // Of packed sequences, and of a cache, rows are counted otherwise than a bias's.
  const isFree = plan.bias === null && !plan.packed && plan.kv.kind === "tensors" &&
    functions.keysBefore === 0 && functions.headsBefore === 0 &&
    plan.segments.every(({ rowsBefore }) => !rowsBefore);
  const bias = isFree ? biasOf(functions, known.array, known.axes, plan) : undefined;
  return bias && { bias };
}

/** What of the functions is left. */
function rest(functions: Functions, hasScore: boolean, hasMask: boolean): Functions | null {
  const score = hasScore ? functions.score : undefined, mask = hasMask ? functions.mask : undefined;
  if (score === undefined && mask === undefined) return null;
  const read = [...score?.arrays ?? [], ...mask?.arrays ?? []];
  const arrays = new Map([...functions.arrays].filter(([array]) => read.includes(array)));
  return { ...functions, score, mask, arrays };
}

/** A plan whose functions are taken for options, as far as they say the same. */
export function withOptions<Plan extends AttentionPlan>(plan: Plan): Plan {
  const { functions } = plan;
  if (functions === null) return plan;
  const terms = termsOf(plan, functions);
  const band = functions.mask && functions.isAligned ? knownBand(functions.mask) : undefined;
  const isMoved = band !== undefined || terms?.slopes !== undefined;
  return {
    ...plan,
    ...terms,
    ...(band && { band }),
    functions: rest(functions, terms === undefined, band === undefined),
    // Rows of functions are those of tensors, whatever these are aligned by; with a cache they are aligned so.
    ...(isMoved && plan.kv.kind === "tensors" && {
      segments: plan.segments.map((segment) => ({
        ...segment,
        offset: (segment.rowsBefore ?? 0) - functions.keysBefore,
      })),
    }),
  };
}
