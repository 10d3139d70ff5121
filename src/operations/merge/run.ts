/**
 * mergeAttention(): results over disjoint sets of keys become the result over all of them, exactly.
 *
 * @module
 */

import { checkHeads, checkShapeOf, readRows, readTensor } from "../../check/tensors.ts";
import { checkLayoutName, readOptions } from "../../check/words.ts";
import type { Backend } from "../../contract/backend.ts";
import { isGpuBuffer, type TensorData } from "../../tensor/dtype.ts";
import { useAll } from "../../tensor/lending.ts";
import {
  type AnyTensor,
  type AnyView,
  type Layout,
  type ReadTensor,
  type Tensor,
  viewOf,
} from "../../tensor/tensor.ts";
import type { Storage } from "../attention/plan.ts";
import {
  type AttentionResultWithLse,
  isHere,
  kindFor,
  makeTensor,
  type OwnData,
} from "../attention/run.ts";
import type { Target } from "../attention/target.ts";

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

/** Reads one part beside the first. */
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
  const { layout = "bhnd" } = readOptions(options, ["layout"], cannot);
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

/** Merges parts that were read on a backend. */
export async function runMerge<Data extends TensorData>(
  asked: Backend | Promise<Backend>,
  { parts, storage, layout, outShape, lseShape }: MergeCall,
): Promise<AttentionResultWithLse<OwnData<Data>>> {
  const onGpu = isGpuBuffer(storage.like), made: AnyTensor[] = [];
  const leave = useAll(parts.flatMap(({ out, lse }) => [out.data, lse!.data]));
  try {
    const chosen = isHere(asked) ? asked : await asked;
    const backend = await chosen.serving?.(onGpu) ?? chosen;
    backend.checkReadable?.(cannot, parts.map(({ out }) => out));
    const make = async (shape: readonly number[], stored: Storage): Promise<AnyTensor> => {
      const { dtype } = stored;
      const tensor = onGpu
        ? { data: await backend.createBuffer!(shape, dtype), shape, dtype }
        : makeTensor(kindFor(stored), dtype, shape);
      made.push(tensor);
      return tensor;
    };
    const out = await make(outShape, storage);
    const lse = await make(lseShape, { ...storage, dtype: "f32" });
    const column = viewOf({ ...lse, shape: [...lseShape, 1] }, "bhnd");
    await backend.merge(parts, { out: viewOf(out, layout), lse: column } as Target);
    return { out, lse } as AttentionResultWithLse<TensorData> as AttentionResultWithLse<
      OwnData<Data>
    >;
  } catch (error) {
    for (const { data } of made) if (isGpuBuffer(data)) data.destroy();
    throw error;
  } finally {
    leave();
  }
}
