/**
 * The WebGPU backend: FlashAttention in WGSL on whatever device there is.
 *
 * @module
 */

import { DeviceLostError } from "../check/errors.ts";
import type { Backend, Control, EngineTensor, Pass } from "../contract/backend.ts";
import type { Operation } from "../contract/operation.ts";
import type { PageLayout, PageStore } from "../contract/pages.ts";
import { bytesPerElement, type DType, isGpuBuffer } from "../tensor/dtype.ts";
import { Lent, registerLent } from "../tensor/lending.ts";
import { sayOf, tensorInWords } from "../tensor/inspect.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { createBuffer, roles } from "./device/buffers.ts";
import { type Gpu, requestGpu, watch } from "./device/device.ts";
import { Patience } from "./device/patience.ts";
import { Session } from "./device/session.ts";
import { WebGpuPages } from "./pages/pages.ts";
import { runners } from "./runners.ts";

/** Options of the WebGPU backend. */
export interface WebGpuOptions {
  /** The caller's device: buffers of it can be passed, and it is not destroyed with the engine. */
  readonly device?: GPUDevice;
  /** Where adapters come from; `navigator.gpu` by default. */
  readonly gpu?: GPU;
}

/** Makes the backend. */
export async function createWebGpuBackend(
  options: WebGpuOptions = {},
  patience?: Patience,
): Promise<Backend> {
  const { device, gpu = globalThis.navigator?.gpu } = options;
  if (device !== undefined) return new WebGpuBackend(watch(device), undefined);
  return new WebGpuBackend(await requestGpu(gpu, patience), (more) => requestGpu(gpu, more));
}

/** A caller's buffer of the engine's; it counts as memory of the engine until it is freed. */
class GpuTensor implements EngineTensor<GPUBuffer> {
  readonly data: GPUBuffer;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly #lent: Lent;

  static {
    sayOf(this.prototype, function () {
      if (!(#lent in this)) return "EngineTensor";
      return tensorInWords("a GPUBuffer", this.shape, this.dtype, this.#lent.isFreed);
    });
  }

  constructor(data: GPUBuffer, shape: readonly number[], dtype: DType, freed: () => void) {
    this.data = data;
    this.shape = [...shape];
    this.dtype = dtype;
    this.#lent = new Lent(() => {
      data.destroy();
      freed();
    });
    registerLent(data, this.#lent);
  }

  free(): void {
    this.#lent.free();
  }

  [Symbol.dispose](): void {
    this.free();
  }
}

class WebGpuBackend implements Backend {
  readonly name = "webgpu";
  readonly reason: string;
  readonly #renew: ((patience: Patience) => Promise<Gpu>) | undefined;
  #session: Session | undefined;
  #renewal: Promise<Session> | undefined;
  #patience: Patience | undefined;
  readonly #tensors = new Map<GpuTensor, number>();
  readonly #pages = new Set<WebGpuPages>();

  constructor(gpu: Gpu, renew: ((patience: Patience) => Promise<Gpu>) | undefined) {
    this.#session = new Session(gpu);
    this.#renew = renew;
    this.reason = gpu.adapter;
  }

  get memoryBytes(): number {
    let bytes = this.#session?.bytes ?? 0;
    for (const one of this.#tensors.values()) bytes += one;
    for (const pages of this.#pages) bytes += pages.bytes;
    return bytes;
  }

  get own(): Backend {
    return this;
  }

  serving(): Backend | Promise<Backend> {
    // A wait would let a call begin on a device that is lost meanwhile.
    return this.#session?.gpu.lost() ? this.#ready().then(() => this) : this;
  }

  check<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    control: Control,
  ): void {
    runners.check(operation, plan, control);
    if (control.encoder === undefined) return;
    for (const [name, input] of Object.entries(operation.inputs(plan))) {
      if (input === null || isGpuBuffer(input.data)) continue;
      throw new TypeError(
        `${operation.cannot}: \`${name}\` must be a GPUBuffer where \`encoder\` is given`,
      );
    }
  }

  /**
   * What closing takes from under a call makes the device refuse it, in words that say nothing of the
   * engine: here the call says what happened.
   */
  async run<Plan, Target>(
    operation: Operation<Plan, Target>,
    plan: Plan,
    target: Target,
    control: Control,
  ): Promise<void> {
    const session = await this.#ready(), machine = { session, open: () => this.#open() };
    try {
      const runner = await runners.load(operation);
      await runner.run(machine, plan, target, control);
    } catch (error) {
      if (!control.signal?.aborted) this.#open();
      throw error;
    }
  }

  checkOpen(): void {
    this.#open();
  }

  async createBuffer(shape: readonly number[], dtype: DType): Promise<GPUBuffer> {
    const { gpu } = await this.#ready();
    return await createBuffer(gpu, bufferBytes(shape, dtype), roles.storage, `[${shape}] ${dtype}`);
  }

  async passes(): Promise<() => Pass> {
    const session = await this.#ready(), { WebGpuPass } = await import("./pass.ts");
    const open = () => {
      this.#open();
      const reason = session.gpu.lost();
      if (reason === undefined) return;
      throw new DeviceLostError(`${reason}; what was in its memory went with it, load it anew`);
    };
    return () => {
      open();
      return new WebGpuPass(this, { session, open });
    };
  }

  tensor(shape: readonly number[], dtype: DType): GpuTensor {
    const { device, attempt } = this.#open().gpu;
    const bytes = bufferBytes(shape, dtype), most = device.limits.maxBufferSize;
    if (bytes > most) {
      throw new RangeError(
        `Cannot make a tensor of ${bytes} bytes: a buffer of this GPU may have ${most}`,
      );
    }
    const label = `FlashTile tensor [${shape}] ${dtype}`;
    // Calls that use one which could not be made are refused.
    const [data] = attempt(() => device.createBuffer({ label, size: bytes, usage: roles.storage }));
    const tensor = new GpuTensor(data, shape, dtype, () => this.#tensors.delete(tensor));
    this.#tensors.set(tensor, bytes);
    return tensor;
  }

  createPages(layout: PageLayout, mostPages: number = Infinity): PageStore {
    const session = this.#open(), reason = session.gpu.lost();
    if (layout.dtype === "int4") {
      throw new RangeError(
        'Cannot make a KV cache: dtype "int4" needs the wasm backend, int8 is for this one, too',
      );
    }
    if (reason !== undefined) {
      throw new DeviceLostError(`${reason}; a call asks for a new one, make the cache after it`);
    }
    const pages = new WebGpuPages(session, layout, mostPages, () => this.#pages.delete(pages));
    this.#pages.add(pages);
    return pages;
  }

  close(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    this.#patience?.end();
    for (const tensor of [...this.#tensors.keys()]) tensor.free();
    for (const pages of [...this.#pages]) pages.free();
    session?.close();
    // The caller's device is the caller's.
    if (this.#renew !== undefined) session?.gpu.device.destroy();
    return Promise.resolve();
  }

  #open(): Session {
    if (this.#session === undefined) throw new Error("Cannot use an engine after `close()`");
    return this.#session;
  }

  /** The session; a new one where the device was lost. */
  async #ready(): Promise<Session> {
    const session = this.#open();
    const reason = session.gpu.lost();
    if (reason === undefined) return session;
    if (this.#renew === undefined) {
      throw new DeviceLostError(`${reason}; make a new engine with a new \`device\``);
    }
    this.#renewal ??= this.#replace(this.#renew);
    return await this.#renewal;
  }

  async #replace(renew: (patience: Patience) => Promise<Gpu>): Promise<Session> {
    try {
      const gpu = await renew(this.#patience = new Patience());
      if (this.#session === undefined) gpu.device.destroy();
      this.#open();
      return this.#session = new Session(gpu);
    } catch (error) {
      this.#open(); // Closed meanwhile: nobody waited any more.
      throw error;
    } finally {
      this.#renewal = undefined;
    }
  }
}

/** Bytes of a buffer for a tensor: buffers are made of words, and none is empty. */
function bufferBytes(shape: readonly number[], dtype: DType): number {
  return Math.max(16, Math.ceil(sizeOf(shape) * bytesPerElement(dtype) / 4) * 4);
}
