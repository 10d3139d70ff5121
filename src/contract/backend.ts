/**
 * The contract between meaning and machinery: a backend executes plans.
 *
 * @module
 */

import type { SignalLike } from "../check/errors.ts";
import type { DType, TensorData } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Operation } from "./operation.ts";
import type { PageLayout, PageStore } from "./pages.ts";

/** Backends by name. */
export type BackendName = "wasm" | "webgpu";

/** How far a call has come, in query rows over all batches and heads. */
export interface Progress {
  /** Query rows finished. */
  readonly done: number;
  /** Query rows of the whole call. */
  readonly total: number;
}

/** What a caller can do to a running call. */
export interface Control {
  readonly signal?: SignalLike | null | undefined;
  readonly encoder?: GPUCommandEncoder;
  readonly onProgress?: (progress: Progress) => void;
}

/** A tensor in a backend's own memory: what a call reads or writes there is not copied. */
export interface EngineTensor<Data extends TensorData = Float32Array>
  extends Tensor<Data>, Disposable {
  /**
   * The elements, zero at first. An array in linear memory is made anew when the memory has grown,
   * so read `tensor.data` again after each call instead of keeping it.
   */
  readonly data: Data;
  /** Gives the memory back, once no call uses it any more; the tensor cannot be used from now on. */
  free(): void;
}

/** Finds who runs a call: what an engine stands on. */
export interface Machinery {
  /** The backend that runs; where several do, the one that was needed last. */
  readonly name: BackendName;
  /** Which machinery was taken and why, in words. */
  readonly reason: string;
  /** Bytes of memory reserved beyond the caller's own arrays. */
  readonly memoryBytes: number;
  /** The backend whose memory an engine's tensors and caches are in. */
  readonly own: Backend;
  /** The backend for a plan of an operation. Rejects where it cannot run any call now. */
  serving<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    control: Control,
  ): Backend | Promise<Backend>;
  /** Frees everything; later calls throw. */
  close(): Promise<void>;
}

/** Calls one after the other on tensors in a backend's memory, which are submitted together. */
export interface Pass {
  /** Has a plan run behind those before; resolves when that is on its way, and not when it is done. */
  run<Plan, Target>(operation: Operation<Plan, Target>, plan: Plan, target: Target): Promise<void>;
  /** Submits what waits: before anything else is done with what it reads and writes. */
  submit(): void;
  /** Numbers of f32 from an element on, once all before is done. */
  read(data: GPUBuffer, first: number, count: number): Promise<Float32Array<ArrayBuffer>>;
  /** Resolves when the device has accepted all. */
  finish(): Promise<void>;
  /** Gives back what was borrowed; what is not submitted by then is dropped. */
  end(): void;
}

/** Executes plans. */
export interface Backend extends Machinery {
  /** Throws where it is closed. */
  checkOpen(): void;
  /** Throws where it cannot run such a plan, before anything is allocated. */
  check<Plan, Target>(operation: Operation<Plan, Target>, plan: Plan, control: Control): void;
  /** Runs a plan; other work of the event loop gets its turn while it runs. */
  run<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    target: Target,
    control: Control,
  ): Promise<void>;
  /**
   * Runs a plan to its end; absent where nobody can wait for that. Throws where what does it has not
   * been loaded by `run()` before.
   */
  runSync?<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    target: Target,
    control: Control,
  ): void;
  /** A buffer of the caller's own for a result on the GPU; absent where there is none. */
  createBuffer?(shape: readonly number[], dtype: DType): Promise<GPUBuffer>;
  /**
   * Gets ready for calls one after the other, on tensors in its memory; absent where these are run to their ends. What it
   * gives begins a pass, and throws where the memory is lost.
   */
  passes?(): Promise<() => Pass>;
  /** A tensor in this backend's memory. */
  tensor(shape: readonly number[], dtype: DType): EngineTensor<TensorData>;
  /** Pages of a cache in this backend's memory, of which it never has more than `mostPages`. */
  createPages(layout: PageLayout, mostPages?: number): PageStore;
}
