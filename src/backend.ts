/**
 * The contract between meaning and machinery: a backend executes plans.
 *
 * @module
 */

import type { DType, TensorData } from "./dtype.ts";
import type { Progress } from "./options.ts";
import type { AttentionPlan } from "./plan.ts";
import type { Tensor, View } from "./tensor.ts";

/** Backends by name. */
export type BackendName = "wasm" | "webgpu";

/** Where a plan's results go. */
export interface Target {
  /** `[B, Hq, Nq, Dv]`; shares no element with an input. */
  readonly out: View;
  /** `[B, Hq, Nq]` with a last axis of 1, or `null`. */
  readonly lse: View | null;
}

/** What a caller can do to a running call. */
export interface Control {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/** A tensor in a backend's own memory: what a call reads or writes there is not copied. */
export interface EngineTensor<Data extends TensorData = Float32Array>
  extends Tensor<Data>, Disposable {
  /**
   * The elements, zero at first. The array is made anew when the memory has grown, so read
   * `tensor.data` again after each call instead of keeping it.
   */
  readonly data: Data;
  /** Gives the memory back. Not while a call that uses the tensor runs. */
  free(): void;
}

/** Executes plans. */
export interface Backend {
  readonly name: BackendName;
  /** Which machinery was taken and why, in words. */
  readonly reason: string;
  /** Bytes of memory reserved beyond the caller's own arrays. */
  readonly memoryBytes: number;
  /** Runs a plan; other work of the event loop gets its turn while it runs. */
  run(plan: AttentionPlan, target: Target, control: Control): Promise<void>;
  /** Runs a plan to its end. */
  runSync(plan: AttentionPlan, target: Target, control: Control): void;
  /** A view as it is whenever it is asked for, also after the backend's memory has grown. */
  follow(view: View): () => View;
  /** A tensor in this backend's memory. */
  tensor(shape: readonly number[], dtype: DType): EngineTensor<TensorData>;
  /** Frees everything; later calls throw. */
  close(): Promise<void>;
}
