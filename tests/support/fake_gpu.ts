/**
 * A device that computes nothing: it makes whatever is asked of it, tells of what it refuses through
 * error scopes, and is lost when a test says so.
 *
 * @module
 */

/** A device with what is seen of it. */
export interface FakeDevice {
  readonly device: GPUDevice;
  /** What was made, and its label. */
  readonly calls: string[];
  isDestroyed: boolean;
  /** Loses the device: what is asked from then on does not settle. */
  lose(message: string): void;
}

/** Says how something is refused that has a label; `undefined` where it is not. */
export type Refuse = (name: string, label: string) => GPUErrorFilter | undefined;

/** Anything: every property is a function that gives such a thing, but numbers. */
function thing(more: object = {}): object {
  const other = (key: string | symbol) => key === "then" ? undefined : () => thing();
  const get = (target: object, key: string | symbol) =>
    key in target ? Reflect.get(target, key) : other(key);
  return new Proxy(more, { get });
}

/** A device that refuses what it is told to; lost already where `lost` has settled. */
export function fakeDevice(
  refuse: Refuse = () => undefined,
  lost?: Promise<GPUDeviceLostInfo>,
): FakeDevice {
  const scopes: { filter: string; error: { message: string } | null }[] = [];
  const calls: string[] = [];
  let lose!: (info: GPUDeviceLostInfo) => void, isLost = false;
  const ofOurs = new Promise<GPUDeviceLostInfo>((resolve) => lose = resolve);
  const make = (
    name: string,
    more: (descriptor: { label?: string; size?: number; usage?: number }) => object,
  ) =>
  (descriptor: { label?: string; size?: number; usage?: number } = {}) => {
    const label = descriptor.label ?? "", filter = refuse(name, label);
    calls.push(`${name} ${label}`);
    const scope = scopes.findLast((one) => one.filter === filter);
    if (scope) scope.error ??= { message: `no ${label}` };
    return thing(more(descriptor));
  };
  const settled = <T>(value: T) => isLost ? new Promise<never>(() => {}) : Promise.resolve(value);
  const limits = {
    ...{ maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 },
    ...{ minUniformBufferOffsetAlignment: 256, minStorageBufferOffsetAlignment: 256 },
  };
  const device = {
    ...{ limits, features: new Set<string>(), lost: lost ?? ofOurs },
    createBuffer: make(
      "createBuffer",
      ({ size, usage }) => ({ size, usage, mapState: "unmapped" }),
    ),
    createShaderModule: make("createShaderModule", () => ({
      getCompilationInfo: () => settled({ messages: [] }),
    })),
    createComputePipeline: make("createComputePipeline", () => ({})),
    createComputePipelineAsync: () => settled(thing()),
    createBindGroup: make("createBindGroup", () => ({})),
    createCommandEncoder: make("createCommandEncoder", () => ({})),
    queue: { writeBuffer() {}, submit() {}, onSubmittedWorkDone: () => settled(undefined) },
    pushErrorScope: (filter: string) => scopes.push({ filter, error: null }),
    popErrorScope: () => settled(scopes.pop()!.error),
    destroy: () => fake.isDestroyed = true,
  } as unknown as GPUDevice;
  const fake: FakeDevice = {
    ...{ device, calls, isDestroyed: false },
    lose: (message) => {
      isLost = true;
      lose({ message, reason: "unknown" } as GPUDeviceLostInfo);
    },
  };
  return fake;
}

/** A `GPU` whose adapter answers a request for a device so. */
export function fakeGpu(requestDevice: () => unknown): GPU {
  const adapter = {
    ...{ info: { vendor: "fake" }, limits: {}, features: new Set<string>() },
    requestDevice,
  };
  return { requestAdapter: () => Promise.resolve(adapter) } as unknown as GPU;
}
