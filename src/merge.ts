/**
 * mergeAttention(): results over disjoint sets of keys become the result over all of them, exactly.
 *
 * @module
 */

import { type AttentionResultWithLse, type LseData, makeTensor } from "./attention.ts";
import type { Backend, Target } from "./backend.ts";
import { type DType, isGpuBuffer, type TensorData } from "./dtype.ts";
import type { Layout } from "./options.ts";
import { type AnyTensor, contiguousStrides, type Tensor, viewOf } from "./tensor.ts";
import { checkTensor } from "./validate/tensors.ts";
import { checkKeys, checkLayoutName, kindOf } from "./validate/words.ts";

const cannot = "Cannot merge";

/** What attention to some of the keys gave. */
export interface AttentionPart<Data extends TensorData = Float32Array> {
  /** `[B, Hq, Nq, Dv]`, of any rank. */
  readonly out: Tensor<Data>;
  /** `[B, Hq, Nq]`, f32. */
  readonly lse: Tensor<LseData<Data>>;
}

/** Options of `mergeAttention()`. */
export interface MergeOptions {
  /** Order of the axes of each `out`, `"bhnd"` by default; `lse` is `[B, Hq, Nq]` in both. */
  readonly layout?: Layout;
}

/** One number per row, `[B, Hq, Nq]`, as `[B, Hq, Nq, 1]`. */
export function asColumn(lse: AnyTensor): AnyTensor {
  const { shape, strides = contiguousStrides(shape) } = lse;
  return { ...lse, dtype: "f32", shape: [...shape, 1], strides: [...Array.from(strides), 1] };
}

/** Checks one part against the first. */
function checkPart(
  part: AttentionPart<TensorData>,
  name: string,
  first: AttentionPart<TensorData>,
  layout: Layout,
): Target {
  const { out, lse } = Object(part) as typeof part;
  checkTensor(`${name}.out`, out, cannot);
  const view = viewOf(out, layout), { shape } = view;
  if (!Array.isArray(lse?.shape)) {
    throw new TypeError(
      `${cannot}: \`${name}.lse\` must be { data, shape }, got ${kindOf(lse)}; ` +
        "ask for it with `lse: true`",
    );
  }
  const rows = shape.slice(4 - out.shape.length, 3);
  const wanted = [["out", out.shape, first.out.shape], ["lse", lse.shape, rows]] as const;
  for (const [what, got, expected] of wanted) {
    if (String(got) === String(expected)) continue;
    throw new RangeError(
      `${cannot}: \`${name}.${what}\` must have shape [${expected}], got [${got}]`,
    );
  }
  const column = asColumn(lse);
  checkTensor(`${name}.lse`, column, cannot);
  const onGpu = isGpuBuffer(first.out.data);
  if ([out, lse].some(({ data }) => isGpuBuffer(data) !== onGpu)) {
    const where = onGpu ? "GPUBuffers" : "arrays";
    throw new TypeError(`${cannot}: \`${name}\` must be in ${where} as the first part is`);
  }
  return { out: view, lse: viewOf(column, "bhnd") };
}

/** Checks parts: what backends see of each. */
export function checkParts(
  parts: readonly AttentionPart<TensorData>[],
  options: MergeOptions = {},
): Target[] {
  if (!Array.isArray(parts) || parts.length === 0) {
    throw new TypeError(`${cannot}: \`parts\` must be an array of at least one { out, lse }`);
  }
  checkKeys(options, ["layout"], cannot);
  const { layout = "bhnd" } = options, [first] = parts;
  checkLayoutName(layout, cannot);
  return parts.map((part, at) => checkPart(part, `parts[${at}]`, first, layout));
}

/** Checks parts, and merges them on a backend. */
export async function runMerge<Data extends TensorData>(
  chosen: Backend,
  parts: readonly AttentionPart<Data>[],
  options: MergeOptions = {},
): Promise<AttentionResultWithLse<Data>> {
  const views = checkParts(parts, options), { layout = "bhnd" } = options, [first] = parts;
  const { data, shape } = first.out, { dtype } = views[0].out;
  const backend = await chosen.serving?.(data) ?? chosen;
  backend.checkReadable?.(cannot, views.map(({ out }) => out));
  const made: AnyTensor[] = [];
  const make = async (shape: readonly number[], dtype: DType): Promise<AnyTensor> => {
    const tensor = isGpuBuffer(data)
      ? { data: await backend.createBuffer!(shape, dtype), shape, dtype }
      : makeTensor(dtype === "f32" ? new Float32Array() : data, dtype, shape);
    made.push(tensor);
    return tensor;
  };
  try {
    const out = await make(shape, dtype), lse = await make(first.lse.shape, "f32");
    const target = { out: viewOf(out, layout), lse: viewOf(asColumn(lse), "bhnd") };
    await backend.merge(views, target);
    return { out, lse } as AttentionResultWithLse<TensorData> as AttentionResultWithLse<Data>;
  } catch (error) {
    for (const { data } of made) if (isGpuBuffer(data)) data.destroy();
    throw error;
  }
}
