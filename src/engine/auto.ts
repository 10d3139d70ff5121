/**
 * The backend that picks for each call: a GPU for work that is worth the way there, else Wasm.
 *
 * @module
 */

import { reasonOf } from "../check/errors.ts";
import type { Backend, BackendName, Control, EngineTensor } from "../contract/backend.ts";
import type { PageLayout, PageStore } from "../contract/pages.ts";
import {
  type AttentionPlan,
  type BackwardPlan,
  countScores,
  isHostPlan,
} from "../operations/attention/plan.ts";
import type { Target } from "../operations/attention/target.ts";
import type { GradientTarget } from "../operations/backward/target.ts";
import type { Rotation } from "../operations/rope/rotation.ts";
import type { DType, TensorData } from "../tensor/dtype.ts";
import type { AnyView } from "../tensor/tensor.ts";

/**
 * Multiply-adds of a call in arrays from which on a GPU is taken: two threads need some 30 ms for
 * them, an upload and a read-back 5 to 15.
 */
export const gpuWork = 1e9;

/** Which backend serves a plan best, where there is a GPU. */
export function chooseFor(plan: AttentionPlan, { encoder }: Control): BackendName {
  if (plan.paged !== null) return "wasm"; // Where its pages are.
  if (!isHostPlan(plan) || encoder !== undefined) return "webgpu";
  return countScores(plan) * (plan.dim + plan.valueDim) >= gpuWork ? "webgpu" : "wasm";
}

/** Finds a GPU that is one, or says why there is none. Waits until it is told to stop. */
export type OpenGpu = (stop: AbortSignal) => Promise<Backend | string>;

/**
 * Wasm, and a GPU behind it. Nobody looks for the GPU before the first call that is worth one: that
 * takes up to a quarter of a second. Its own tensors are in linear memory.
 */
export class AutoBackend implements Backend {
  readonly #wasm: Backend;
  readonly #openGpu: OpenGpu;
  #gpu: Promise<Backend | undefined> | undefined;
  #opened: Backend | undefined;
  /** Why there is no GPU, once it was looked for. */
  #without: string | undefined;
  readonly #closing = new AbortController();
  #closed = false;

  constructor(wasm: Backend, openGpu: OpenGpu) {
    this.#wasm = wasm;
    this.#openGpu = openGpu;
  }

  get name(): BackendName {
    return (this.#opened ?? this.#wasm).name;
  }

  get reason(): string {
    if (this.#without !== undefined) return `${this.#wasm.reason}; no GPU: ${this.#without}`;
    if (this.#opened === undefined) return this.#wasm.reason;
    return `${this.#opened.reason}; calls below ${gpuWork} multiply-adds: ${this.#wasm.reason}`;
  }

  get memoryBytes(): number {
    return this.#wasm.memoryBytes + (this.#opened?.memoryBytes ?? 0);
  }

  async choose(plan: AttentionPlan, control: Control): Promise<Backend> {
    if (chooseFor(plan, control) === "wasm") return this.#wasm;
    const chosen = await this.#gpuOrWasm();
    // Only tensors on the GPU need it: the rest is as right on the CPU.
    if (!isHostPlan(plan) || control.encoder !== undefined) return chosen;
    try {
      await chosen.ready?.();
      return chosen;
    } catch {
      return this.#wasm;
    }
  }

  async serving(onGpu: boolean): Promise<Backend> {
    return onGpu ? await this.#gpuOrWasm() : this.#wasm;
  }

  checkOpen(): void {
    this.#wasm.checkOpen();
  }

  check(plan: AttentionPlan, control: Control): void {
    this.#wasm.check(plan, control);
  }

  run(plan: AttentionPlan, target: Target, control: Control): Promise<void> {
    return this.#wasm.run(plan, target, control);
  }

  runSync(plan: AttentionPlan, target: Target, control: Control): void {
    this.#wasm.runSync!(plan, target, control);
  }

  backward(plan: BackwardPlan, target: GradientTarget, control: Control): Promise<void> {
    return this.#wasm.backward(plan, target, control);
  }

  backwardSync(plan: BackwardPlan, target: GradientTarget, control: Control): void {
    this.#wasm.backwardSync!(plan, target, control);
  }

  tensor(shape: readonly number[], dtype: DType): EngineTensor<TensorData> {
    return this.#wasm.tensor(shape, dtype);
  }

  checkReadable(doing: string, views: readonly AnyView[]): void {
    this.#wasm.checkReadable!(doing, views);
  }

  merge(parts: readonly Target[], target: Target): Promise<void> {
    return this.#wasm.merge(parts, target);
  }

  rotate(rotation: Rotation): Promise<void> {
    return this.#wasm.rotate(rotation);
  }

  createPages(layout: PageLayout): PageStore {
    return this.#wasm.createPages(layout);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    await Promise.all([this.#wasm.close(), this.#opened?.close()]);
  }

  async #gpuOrWasm(): Promise<Backend> {
    if (this.#closed) return this.#wasm; // Which says so.
    this.#gpu ??= this.#open();
    return await this.#gpu ?? this.#wasm;
  }

  async #open(): Promise<Backend | undefined> {
    try {
      const gpu = await this.#openGpu(this.#closing.signal);
      if (typeof gpu === "string") this.#without = gpu;
      else if (this.#closed) await gpu.close(); // Too late: `close()` did not wait for it.
      else return this.#opened = gpu;
    } catch (error) {
      this.#without = reasonOf(error); // A device that cannot be had: Wasm does it.
    }
  }
}
