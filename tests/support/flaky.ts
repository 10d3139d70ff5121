/**
 * Devices that fail on purpose, around one that does not: at a call of ours they refuse what is asked
 * of them, or are lost.
 *
 * @module
 */

import { usages } from "../../src/webgpu/device/buffers.ts";

/** What goes wrong at a call. */
export type Fault =
  /** The call is refused: an error scope tells, and what it makes is invalid. */
  | "refuse"
  /** The device is lost: what is under way, and what is asked from then on, never settles. */
  | "lose and hang"
  /** The device is lost: what is under way settles as if nothing had happened. */
  | "lose and go on"
  /** The device that it stands before is destroyed. */
  | "destroy";

/** Something to be done to a device, by its name: `createBuffer`, `queue.submit`. */
export type Decide = (name: string) => Fault | undefined;

/** A device of ours with what is seen of it. */
export interface Flaky {
  readonly device: GPUDevice;
  /** Buffers that were made and not destroyed. */
  readonly living: ReadonlySet<GPUBuffer>;
  isDestroyed: boolean;
}

type Call = (...given: never[]) => unknown;

/** Compiled once, however many devices of ours stand before a device. */
const modules = new WeakMap<GPUDevice, Map<string, GPUShaderModule>>();
const pipelines = new WeakMap<GPUShaderModule, GPUComputePipeline>();

/** How each call is refused, all by validation. */
const refusals: Record<string, (real: GPUDevice, call: Call, given: unknown[]) => unknown> = {
  createBuffer: (real, call, [descriptor]) =>
    call(
      { ...descriptor as GPUBufferDescriptor, size: real.limits.maxBufferSize + 256 } as never,
    ),
  createBindGroup: (_, call, [descriptor]) =>
    call({ ...descriptor as GPUBindGroupDescriptor, entries: [] } as never),
  createShaderModule: (real) => real.createShaderModule({ code: "fn main( {" }),
  "queue.writeBuffer": (_, call, [buffer, , data]) =>
    call(buffer as never, 2 ** 40 as never, data as never),
  "queue.submit": (real, call, [commands]) => {
    const buffer = real.createBuffer({ size: 16, usage: usages.copyTarget });
    const encoder = real.createCommandEncoder();
    encoder.clearBuffer(buffer);
    const refused = encoder.finish();
    buffer.destroy();
    call([...commands as GPUCommandBuffer[], refused] as never);
  },
};

/** Calls that can be refused. */
export const refusable: readonly string[] = Object.keys(refusals);

/** A device that fails when `decide` says so. */
export function flaky(real: GPUDevice, decide: Decide): Flaky {
  const living = new Set<GPUBuffer>();
  let lose = (_: { message: string; reason: string }) => {};
  const lost = new Promise<{ message: string; reason: string }>((resolve) => lose = resolve);
  real.lost.then(lose);
  let isLost: Fault | undefined;
  /** What a promise of the device comes to. */
  const outcome = <T>(made: Promise<T>, otherwise: T) => {
    const settled = made.then((value) => isLost ? otherwise : value);
    const hangs = new Promise<T>(() => {});
    if (isLost === undefined) {
      return settled.then((value) => isLost === "lose and hang" ? hangs : value);
    }
    made.catch(() => {});
    return isLost === "lose and hang" ? hangs : Promise.resolve(otherwise);
  };
  const own: Record<string, Call> = {
    destroy: () => {
      seen.isDestroyed = true;
      lose({ message: "it was destroyed", reason: "destroyed" });
    },
    createBuffer: (descriptor: GPUBufferDescriptor) => {
      const buffer = real.createBuffer(descriptor);
      living.add(buffer);
      const [destroy, map] = [buffer.destroy.bind(buffer), buffer.mapAsync.bind(buffer)];
      const mapAsync = (mode: number, at?: number, size?: number) =>
        outcome(isLost ? Promise.resolve() : map(mode, at, size), undefined);
      return Object.assign(buffer, { mapAsync, destroy: () => (living.delete(buffer), destroy()) });
    },
    createShaderModule: (descriptor: GPUShaderModuleDescriptor) => {
      const known = modules.get(real) ?? new Map<string, GPUShaderModule>();
      modules.set(real, known);
      const module = known.get(descriptor.code) ?? real.createShaderModule(descriptor);
      known.set(descriptor.code, module);
      return module;
    },
    createComputePipeline: (descriptor: GPUComputePipelineDescriptor) => {
      const { module } = descriptor.compute;
      const pipeline = pipelines.get(module) ?? real.createComputePipeline(descriptor);
      pipelines.set(module, pipeline);
      return pipeline;
    },
    createComputePipelineAsync: (descriptor: GPUComputePipelineDescriptor) => {
      const { module } = descriptor.compute, known = pipelines.get(module);
      const made = known ? Promise.resolve(known) : real.createComputePipelineAsync(descriptor);
      made.then((pipeline) => pipelines.set(module, pipeline), () => {});
      return outcome(made, known!);
    },
    popErrorScope: () => outcome(real.popErrorScope(), null),
    "queue.onSubmittedWorkDone": () => outcome(real.queue.onSubmittedWorkDone(), undefined),
  };
  const callOf = (name: string, target: GPUDevice | GPUQueue, key: string): Call => {
    const call = own[name] ?? (Reflect.get(target, key, target) as Call).bind(target);
    return (...given) => {
      const fault = isLost === undefined ? decide(name) : undefined;
      if (fault === "destroy") real.destroy();
      else if (fault === "refuse") return refusals[name](real, call, given);
      else if (fault !== undefined) {
        isLost = fault;
        // The news may come before what was under way settles, or after it.
        if (fault === "lose and go on") lose({ message: "lost on purpose", reason: "unknown" });
        else setTimeout(() => lose({ message: "lost on purpose", reason: "unknown" }), 3);
      }
      return call(...given);
    };
  };
  const queue = new Proxy(real.queue, {
    get(target, key) {
      const value = Reflect.get(target, key, target);
      return typeof value === "function"
        ? callOf(`queue.${String(key)}`, target, String(key))
        : value;
    },
  });
  const device = new Proxy(real, {
    get(target, key) {
      if (key === "queue") return queue;
      if (key === "lost") return lost;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? callOf(String(key), target, String(key)) : value;
    },
  });
  const seen: Flaky = { device, living, isDestroyed: false };
  return seen;
}

/** A `GPU` that gives the devices that `next` makes. */
export function gpuOf(real: GPUDevice, next: () => GPUDevice): GPU {
  const adapter = {
    ...{ info: { vendor: "flaky" }, limits: real.limits, features: real.features },
    requestDevice: () => Promise.resolve(next()),
  };
  return { requestAdapter: () => Promise.resolve(adapter) } as unknown as GPU;
}
