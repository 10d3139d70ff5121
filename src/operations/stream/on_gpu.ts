/**
 * What a stream has on a GPU: blocks of rows that come in buffers, and sums where the result is one.
 *
 * @module
 */

import type { Backend, EngineTensor, Machinery } from "../../contract/backend.ts";
import type { TensorData } from "../../tensor/dtype.ts";
import { type AnyView, type Extents, type View, viewOf } from "../../tensor/tensor.ts";
import type { KeptResult } from "../attention/result.ts";
import type { Target } from "../attention/target.ts";
import { runUsed, type Storage } from "../call.ts";
import { mergeAttention, type MergePlan } from "../merge/operation.ts";
import { type Block, rowsOf } from "./blocks.ts";
import type { Sums } from "./sums.ts";

/** A view of a buffer. */
type Buffer = View<GPUBuffer>;

/** Buffers of zeros on the GPU that serves who has buffers, f32, contiguous. */
class Rooms {
  readonly #backend: Backend;
  readonly #tensors: EngineTensor<TensorData>[] = [];

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  make(shape: Extents): Buffer {
    const tensor = this.#make(shape);
    this.#tensors.push(tensor);
    return viewOf({ data: tensor.data, shape, dtype: "f32" }, "bhnd") as AnyView as Buffer;
  }

  /** What cannot be had leaves nothing of the others. */
  #make(shape: Extents): EngineTensor<TensorData> {
    try {
      return this.#backend.tensor(shape, "f32");
    } catch (error) {
      this.free();
      throw error;
    }
  }

  free(): void {
    for (const tensor of this.#tensors) tensor.free();
  }
}

/** The GPU that has a buffer. */
export async function gpuOf(machinery: Machinery, data: GPUBuffer): Promise<Backend> {
  return await machinery.serving(
    mergeAttention,
    { parts: [{ out: { data }, lse: null }] } as never,
    {},
  );
}

/** Merges on a GPU, where that makes no tensors. */
function merge(machinery: Machinery, plan: MergePlan, target: Target | null): Promise<void> {
  const call = { operation: mergeAttention, plan, control: {}, results: {} };
  return runUsed(machinery, { ...call, target: () => target, finish: () => {} });
}

/** Rows in f32, whatever they are stored as. */
export class GpuBlock implements Block {
  readonly #machinery: Machinery;
  readonly #rooms: Rooms;
  readonly #rows: Buffer;
  /** The log-sum-exp of rows, 0: a part alone is merged as it is. */
  readonly #zero: Buffer;
  readonly #unread: Buffer;

  constructor(machinery: Machinery, gpu: Backend, shape: Extents) {
    this.#machinery = machinery;
    this.#rooms = new Rooms(gpu);
    this.#rows = this.#rooms.make(shape);
    this.#zero = this.#rooms.make([1, 1, 1, 1]);
    this.#unread = this.#rooms.make([1, 1, shape[2], 1]);
  }

  write(rows: Buffer, at: number): Promise<void> {
    const { shape: [batch, heads, count] } = rows, shape = [batch, heads, count, 1] as const;
    const column = (buffer: Buffer, row: number) => ({
      ...{ ...buffer, shape },
      strides: [0, 0, row, 1] as const,
    });
    const parts = [{ out: rows, lse: column(this.#zero, 0) }];
    const out = rowsOf(this.#rows, at, at + count);
    return merge(this.#machinery, { parts }, { out, lse: column(this.#unread, 1) });
  }

  view(count: number): Buffer {
    return rowsOf(this.#rows, 0, count);
  }

  free(): void {
    this.#rooms.free();
  }
}

/** Sums in f32, with what rounding takes from them beside; the last result is still to be added. */
export class GpuSums implements Sums {
  readonly #rooms: Rooms;
  #sums: readonly [acc: Buffer, before: Buffer, after: Buffer];
  #last: KeptResult<GPUBuffer> | undefined;
  readonly #shape: Extents;
  readonly out = null;
  readonly storage: Storage;

  constructor(gpu: Backend, shape: Extents) {
    const [batch, heads, rows, width] = shape;
    this.#rooms = new Rooms(gpu);
    this.#shape = shape;
    const make = (columns: number) => this.#rooms.make([batch, heads, rows, columns]);
    this.#sums = [make(Math.ceil(width / 4) * 8), make(4), make(4)];
    this.storage = { dtype: "f32", like: this.#sums[0].data };
  }

  async add(machinery: Machinery, result: KeptResult<GPUBuffer>): Promise<void> {
    try {
      if (this.#last !== undefined) await merge(machinery, this.rest(), null);
    } finally {
      if (this.#last !== undefined) this.#swapLevels();
      this.#discard();
      this.#last = result;
    }
  }

  #swapLevels(): void {
    const [acc, before, after] = this.#sums;
    this.#sums = [acc, after, before];
  }

  rest(): MergePlan {
    const { out, lse, lseRest } = this.#last!, [batch, heads, rows, width] = this.#shape;
    const view = ({ data }: { readonly data: GPUBuffer }, columns: number) =>
      viewOf({ data, shape: [batch, heads, rows, columns], dtype: "f32" }, "bhnd");
    const part = { out: view(out, width), lse: view(lse, 1), lseRest: view(lseRest, 1) };
    return { parts: [part as Target], sums: this.#sums };
  }

  /** Frees the last result, which is ours. */
  #discard(): void {
    if (this.#last === undefined) return;
    const { out, lse, lseRest } = this.#last;
    for (const { data } of [out, lse, lseRest]) data.destroy();
    this.#last = undefined;
  }

  free(): void {
    this.#discard();
    this.#rooms.free();
  }
}
