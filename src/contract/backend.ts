/**
 * The contract between meaning and machinery: a backend executes plans.
 *
 * @module
 */

import type { SignalLike } from "../check/errors.ts";
import type { AttentionPlan, BackwardPlan } from "../operations/attention/plan.ts";
import type { Target } from "../operations/attention/target.ts";
import type { GradientTarget } from "../operations/backward/target.ts";
import type { Rotation } from "../operations/rope/rotation.ts";
import type { DType, TensorData } from "../tensor/dtype.ts";
import type { AnyView, Tensor } from "../tensor/tensor.ts";
import type { PageLayout, PageStore } from "./pages.ts";

/** Backends by name. */
export type BackendName = "wasm" | "webgpu";

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

/** Executes plans. */
export interface Backend {
  readonly name: BackendName;
  /** Which machinery was taken and why, in words. */
  readonly reason: string;
  /** Bytes of memory reserved beyond the caller's own arrays. */
  readonly memoryBytes: number;
  /** The backend that runs a plan, where that depends on the plan. */
  choose?(plan: AttentionPlan, control: Control): Promise<Backend>;
  /** Rejects where it cannot run any call now and cannot mend that; absent where it always can. */
  ready?(): Promise<unknown>;
  /** The backend for tensors on the GPU, or in arrays, where that depends on it. */
  serving?(onGpu: boolean): Promise<Backend>;
  /** Throws where it is closed. */
  checkOpen(): void;
  /** Throws when it cannot run such a plan, before anything is allocated. */
  check(plan: AttentionPlan, control: Control): void;
  /** Runs a plan; other work of the event loop gets its turn while it runs. */
  run(plan: AttentionPlan, target: Target, control: Control): Promise<void>;
  /** Runs a plan to its end; absent where nobody can wait for that. */
  runSync?(plan: AttentionPlan, target: Target, control: Control): void;
  /** Runs the gradients of a plan, which its `check()` has passed; as `run()` otherwise. */
  backward(plan: BackwardPlan, target: GradientTarget, control: Control): Promise<void>;
  /**
   * The same to its end; absent where `runSync()` is. Throws where what computes gradients has not
   * been loaded by `backward()` before.
   */
  backwardSync?(plan: BackwardPlan, target: GradientTarget, control: Control): void;
  /** A buffer of the caller's own for a result on the GPU; absent where there is none. */
  createBuffer?(shape: readonly number[], dtype: DType): Promise<GPUBuffer>;
  /** A tensor in this backend's memory. */
  tensor(shape: readonly number[], dtype: DType): EngineTensor<TensorData>;
  /** Throws where it cannot read one of some tensors; absent where it reads all. */
  checkReadable?(doing: string, views: readonly AnyView[]): void;
  /** Merges results over disjoint keys; all are alike in shape and in where they are. */
  merge(parts: readonly Target[], target: Target): Promise<void>;
  /** Rotates rows in place. */
  rotate(rotation: Rotation): Promise<void>;
  /** Pages of a cache in this backend's memory, of which it never has more than `mostPages`. */
  createPages(layout: PageLayout, mostPages?: number): PageStore;
  /** Frees everything; later calls throw. */
  close(): Promise<void>;
}

/** How far a call has come, in query rows over all batches and heads. */
export interface Progress {
  /** Query rows finished. */
  readonly done: number;
  /** Query rows of the whole call. */
  readonly total: number;
}
