/**
 * The backend that picks for each call: a GPU for work that is worth the way there, else Wasm.
 *
 * @module
 */

import { reasonOf } from "../check/errors.ts";
import type { Backend, BackendName, Control, Machinery } from "../contract/backend.ts";
import type { Operation } from "../contract/operation.ts";
import { isGpuBuffer } from "../tensor/dtype.ts";

/**
 * Multiply-adds of a call in arrays from which on a GPU is taken: two threads need some 30 ms for
 * them, an upload and a read-back 5 to 15.
 */
export const gpuWork = 1e9;

/** Whether only a GPU can run a plan: something of it is there. */
function needsGpu<Plan>(
  operation: Operation<Plan, never>,
  plan: Plan,
  { encoder }: Control,
): boolean {
  return encoder !== undefined ||
    Object.values(operation.inputs(plan)).some((input) => isGpuBuffer(input?.data));
}

/** Which backend serves a plan best, where there is a GPU. */
export function chooseFor<Plan>(
  operation: Operation<Plan, never>,
  plan: Plan,
  control: Control = {},
): BackendName {
  if (needsGpu(operation, plan, control)) return "webgpu";
  return operation.work(plan) < gpuWork ? "wasm" : "webgpu";
}

/** Finds a GPU that is one, or says why there is none. Waits until it is told to stop. */
export type OpenGpu = (stop: AbortSignal) => Promise<Backend | string>;

/**
 * Wasm, and a GPU behind it. Nobody looks for the GPU before the first call that is worth one: that
 * takes up to a quarter of a second. Its own tensors are in linear memory.
 */
export class AutoBackend implements Machinery {
  /** Wasm. */
  readonly own: Backend;
  readonly #openGpu: OpenGpu;
  #gpu: Promise<Backend | undefined> | undefined;
  #opened: Backend | undefined;
  /** Why there is no GPU, once it was looked for. */
  #without: string | undefined;
  readonly #closing = new AbortController();
  #closed = false;

  constructor(wasm: Backend, openGpu: OpenGpu) {
    this.own = wasm;
    this.#openGpu = openGpu;
  }

  get name(): BackendName {
    return (this.#opened ?? this.own).name;
  }

  get reason(): string {
    if (this.#without !== undefined) return `${this.own.reason}; no GPU: ${this.#without}`;
    if (this.#opened === undefined) return this.own.reason;
    return `${this.#opened.reason}; calls below ${gpuWork} multiply-adds: ${this.own.reason}`;
  }

  get memoryBytes(): number {
    return this.own.memoryBytes + (this.#opened?.memoryBytes ?? 0);
  }

  serving<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    control: Control,
  ): Backend | Promise<Backend> {
    if (chooseFor(operation, plan, control) === "wasm") return this.own;
    const isNeeded = needsGpu(operation, plan, control);
    return this.#gpuOrWasm().then(async (chosen) => {
      try {
        return await chosen.serving(operation, plan, control);
      } catch (error) {
        // Only tensors on the GPU need it: the rest is as right on the CPU.
        if (isNeeded) throw error;
        return this.own;
      }
    });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#closing.abort();
    await Promise.all([this.own.close(), this.#opened?.close()]);
  }

  async #gpuOrWasm(): Promise<Backend> {
    if (this.#closed) return this.own; // Which says so.
    this.#gpu ??= this.#open();
    return await this.#gpu ?? this.own;
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
