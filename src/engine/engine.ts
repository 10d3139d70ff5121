/**
 * The engine: a backend, its memory, its life cycle.
 *
 * @module
 */

import { type CascadeOptions, type CascadePart, runCascade } from "../cache/cascade.ts";
import { type AttentionRest, isAnyCache, type KvCache } from "../cache/kv_cache.ts";
import { type LayeredKvCache, makeCache } from "../cache/layers.ts";
import type { KvCacheOptions, LayeredKvCacheOptions } from "../cache/options.ts";
import { BackendUnavailableError } from "../check/errors.ts";
import { bare, kindOf, readOptions } from "../check/words.ts";
import type { BackendName, EngineTensor, Machinery } from "../contract/backend.ts";
import type { Capabilities } from "../contract/capabilities.ts";
import { attention, runAttention, runAttentionSync } from "../operations/attention/operation.ts";
import type {
  AttentionOptions,
  CacheAttentionOptions,
  Precision,
} from "../operations/attention/options.ts";
import { readAttention } from "../operations/attention/plan.ts";
import type {
  Asking,
  AttentionResult,
  AttentionResultWithLse,
  OwnData,
  ResultOf,
} from "../operations/attention/result.ts";
import { runBackward, runBackwardSync, runWithGradient } from "../operations/backward/operation.ts";
import {
  type AttentionGradients,
  type AttentionWithGradient,
  type BackwardOptions,
  type GradientOptions,
  readBackward,
  readWithGradient,
} from "../operations/backward/plan.ts";
import { checkSync } from "../operations/call.ts";
import {
  type AttentionPart,
  type MergeOptions,
  readMerge,
  runMerge,
} from "../operations/merge/operation.ts";
import { runRope, runRopeSync } from "../operations/rope/operation.ts";
import { readRope, type RopeOptions } from "../operations/rope/options.ts";
import type { KeySums, WeightsOptions, WeightsResult } from "../operations/weights/options.ts";
import { readWeights } from "../operations/weights/read.ts";
import { runWeights } from "../operations/weights/run.ts";
import type { DType, HostData, TensorData } from "../tensor/dtype.ts";
import { sayOf } from "../tensor/inspect.ts";
import {
  type AnyTensor,
  checkDType,
  type HostTensor,
  readExtents,
  type Tensor,
  type TypedNumbers,
} from "../tensor/tensor.ts";
import { createWasmBackend, memoryLimits } from "../wasm/backend.ts";
import { isModule } from "../wasm/binary/module.ts";
import { AutoBackend, type OpenGpu } from "./auto.ts";
import { capabilities } from "./capabilities.ts";

/** Options of `createEngine()`. */
export interface EngineOptions {
  /** `"auto"` (default) takes what serves best here; a name is taken or refused, never replaced. */
  readonly backend?: "auto" | BackendName | undefined;
  /**
   * Threads of the Wasm backend, the calling one included. `"auto"` (default) takes as many as run
   * at the same time here, and for work too small to gain from them none but the calling one. A
   * number is taken or refused. Where workers then cannot begin, as under a Content-Security-Policy
   * without `worker-src blob:` and no `workerUrl`, the calling thread does all the work, and `reason`
   * says why.
   */
  readonly threads?: "auto" | number | undefined;
  /**
   * Where a page's server has `flashtile/worker.js` of this version, for a Content-Security-Policy
   * that lets workers come from there alone (`worker-src 'self'`): a string, a `URL` or, where the
   * policy demands trusted types, a `TrustedScriptURL`. By default pages start workers from a `blob:`.
   * Node, Deno and Bun start theirs without any address.
   *
   * ```ts
   * import { createEngine } from "@flashtile/attention";
   *
   * const engine = await createEngine({ backend: "wasm", workerUrl: "/assets/worker.js" });
   * console.log(engine.reason);
   * await engine.close();
   * ```
   */
  readonly workerUrl?: string | { readonly href: string } | undefined;
  /** A compiled Wasm binary of this library, where compiling at run time is not allowed. */
  readonly module?: WebAssembly.Module | undefined;
  /** Most bytes that the Wasm backend's memory may grow to; default 4 GiB less one page. */
  readonly maxMemoryBytes?: number | undefined;
  /**
   * The caller's own GPU device: tensors may then be buffers of it. It stays the caller's, and is not
   * destroyed with the engine.
   */
  readonly device?: GPUDevice | undefined;
  /** Where GPU adapters come from; by default `navigator.gpu`, or the package `webgpu` if it is there. */
  readonly gpu?: GPU | undefined;
  /**
   * Kernels for vectors of 256 bits on the CPU, where they are measured to be faster. `true` needs
   * `import "flashtile/wide"` (`@flashtile/attention/wide`) and V8's flag `--experimental-wasm-revectorize` (`--wasm-revectorize` from V8 15.6 on);
   * where that import sets the flag itself, in Node 24 and later, it is the default. `false`: not in this engine.
   */
  readonly wide?: boolean | undefined;
}

/**
 * Runs attention on one backend. Made by `createEngine()`. `Memory` holds the tensors of its own:
 * arrays in linear memory, or buffers on the GPU.
 */
export interface Engine<Memory extends TensorData = HostData> extends AsyncDisposable {
  /** The backend that runs; with `"auto"`, the GPU once a call was worth it and one was found. */
  readonly backend: BackendName;
  /** Why it was taken, and on how many threads, in words. */
  readonly reason: string;
  /** What the machine offers. */
  capabilities(): Promise<Capabilities>;
  /** Bytes of memory reserved beyond the caller's own arrays. */
  readonly memoryBytes: number;
  /** As the function `attention()`. */
  attention<
    Data extends TensorData,
    Keys extends AnyTensor | KvCache = AnyTensor,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    k: Keys,
    ...rest: AttentionRest<Keys, Lse, Out>
  ): Promise<ResultOf<Data, Lse, Out>>;
  /** The same on tensors without a promise: blocks until it is done. Wasm only. */
  attentionSync<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
    Out extends AnyTensor | undefined = undefined,
  >(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: Asking<AttentionOptions, Lse, Out>,
  ): ResultOf<Data, Lse, Out>;
  /** As the function `attentionBackward()`. */
  attentionBackward<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>>;
  /**
   * The same without a promise: blocks until it is done. Wasm only. For automatic differentiation
   * whose gradient functions must give their results at once.
   *
   * What computes gradients is loaded when it is first asked for, which takes a promise: call
   * `warmup({ gradients: true })` before.
   *
   * ```ts
   * import { createEngine, tensor } from "@flashtile/attention";
   *
   * const engine = await createEngine({ backend: "wasm" });
   * await engine.warmup({ gradients: true });
   *
   * const x = tensor(new Float32Array(8 * 16 * 64), [8, 16, 64]);
   * const { out, lse } = engine.attentionSync(x, x, x, { causal: true, lse: true });
   * const dOut = out; // as for the loss sum(out ** 2) / 2
   * const { dq } = engine.attentionBackwardSync(dOut, x, x, x, { causal: true, out, lse });
   * console.log(dq.shape); // [8, 16, 64]
   * await engine.close();
   * ```
   *
   * @throws {Error} Where gradients are not loaded yet, or the backend is WebGPU.
   */
  attentionBackwardSync<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>;
  /** As the function `attentionWithGradient()`. */
  attentionWithGradient<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options?: GradientOptions,
  ): Promise<AttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>>;
  /** As the function `attentionWeights()`. */
  attentionWeights<Data extends TensorData, Sums extends KeySums | undefined = undefined>(
    q: Tensor<Data>,
    k: AnyTensor,
    options?: WeightsOptions & { readonly keySums?: Sums | undefined },
  ): Promise<WeightsResult<Data, Sums>>;
  /** A tensor of zeros in the backend's own memory: calls read and write it without a copy. */
  tensor<Stored extends DType = "f32">(
    shape: readonly number[] | TypedNumbers,
    dtype?: Stored,
  ): EngineTensor<MemoryFor<Memory, Stored>>;
  /** As the function `mergeAttention()`. */
  mergeAttention<Data extends TensorData>(
    parts: readonly AttentionPart<Data>[],
    options?: MergeOptions,
  ): Promise<AttentionResultWithLse<OwnData<Data>>>;
  /** As the function `cascadeAttention()`. */
  cascadeAttention<
    Data extends TensorData,
    Lse extends boolean | undefined = boolean | undefined,
  >(
    q: Tensor<Data>,
    prefix: CascadePart,
    suffix: CascadePart,
    options?: CascadeOptions & { readonly lse?: Lse | undefined },
  ): Promise<ResultOf<Data, Lse>>;
  /** As the function `rope()`. */
  rope(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): Promise<void>;
  /**
   * The same without a promise: blocks until it is done. Wasm only. What works out angles is loaded when it is
   * first asked for, which takes a promise: call `warmup({ rope: true })` before.
   *
   * ```ts
   * import { createEngine } from "@flashtile/attention";
   *
   * const engine = await createEngine({ backend: "wasm" });
   * await engine.warmup({ rope: true });
   * const q = engine.tensor([8, 1, 64]);
   * engine.ropeSync(q, null, { positions: 100 });
   * await engine.close();
   * ```
   *
   * @throws {Error} Where that is not loaded yet, or the backend is WebGPU.
   */
  ropeSync(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): void;
  /**
   * A KV cache in the backend's own memory.
   *
   * @throws {RangeError} When sizes are none, `batch` is above 65,536, or options do not go together.
   */
  kvCache(options: KvCacheOptions & { readonly layers?: undefined }): KvCache;
  /**
   * A KV cache of all layers of a model in the backend's own memory.
   *
   * @throws {RangeError} As for one layer, or when `layers` is no whole number from 1 to 1,024.
   */
  kvCache(options: LayeredKvCacheOptions): LayeredKvCache;
  /** Gets ready for calls of such tensors, so that the first is as fast as the next. */
  warmup(options?: WarmupOptions): Promise<void>;
  /** Frees everything and ends the threads. Running calls reject, later ones throw. */
  close(): Promise<void>;
}

/** What holds an engine's own tensors of a storage. */
export type MemoryFor<Memory extends TensorData, Stored extends DType> = Memory extends GPUBuffer
  ? GPUBuffer
  : [Stored] extends ["f32"] ? Float32Array
  : Memory;

/** What holds the tensors of an engine that was asked for by this name. */
export type MemoryOf<Name extends EngineOptions["backend"]> = [Name] extends ["webgpu"] ? GPUBuffer
  : HostData;

/** What an engine gets ready for. */
export interface WarmupOptions {
  /** D, 64 by default. */
  readonly dim?: number | undefined;
  /** Dv, as D by default. */
  readonly valueDim?: number | undefined;
  /** How elements are stored, f32 by default. */
  readonly dtype?: DType | undefined;
  /** Also for calls with this `precision`, whose kernels are not loaded otherwise before they are asked for. */
  readonly precision?: Precision | undefined;
  /** Also for gradients, which are not loaded otherwise before they are asked for. */
  readonly gradients?: boolean | undefined;
  /** Also for `scoreMod` and `maskMod`, whose kernels are not loaded otherwise before they are asked for. */
  readonly functions?: boolean | undefined;
  /** Also for `rope()`, whose angles are not loaded otherwise before they are asked for. */
  readonly rope?: boolean | undefined;
}

const warmupNames = [
  ...["dim", "valueDim", "dtype", "gradients", "precision", "functions"] as const,
  ...["rope"] as const,
];

/** Queries and keys of the calls that an engine gets ready with. */
const warmupCalls = [[80, 16], [1, 1040]] as const;

const cannot = "Cannot create an engine";
const known = [
  "backend",
  "threads",
  "workerUrl",
  "module",
  "maxMemoryBytes",
  "device",
  "gpu",
  "wide",
] as const;

/** Options of an engine as they were when it was asked for. */
interface ReadOptions extends EngineOptions {
  /** A string, or what is taken for one. */
  readonly workerUrl?: string;
}

/** Reads the options of an engine, once: what is asked for an adapter takes time. */
function readEngineOptions(given: EngineOptions): ReadOptions {
  const options = readOptions(given, known, cannot);
  const {
    backend = "auto",
    threads = "auto",
    workerUrl,
    module,
    maxMemoryBytes,
    device,
    gpu,
    wide,
  } = options;
  if (!["auto", "wasm", "webgpu"].includes(backend)) {
    throw new TypeError(
      `${cannot}: \`backend\` must be "auto", "wasm" or "webgpu", got ${JSON.stringify(backend)}`,
    );
  }
  if (threads !== "auto" && !(Number.isSafeInteger(threads) && threads >= 1)) {
    throw new RangeError(`${cannot}: \`threads\` must be "auto" or at least 1, got ${threads}`);
  }
  if (module !== undefined && threads !== "auto" && threads > 1) {
    throw new RangeError(
      `${cannot}: \`threads\` above 1 needs the library's own binary, not \`module\``,
    );
  }
  if (module !== undefined && !isModule(module)) {
    throw new TypeError(`${cannot}: \`module\` must be a WebAssembly.Module`);
  }
  // A URL as it is now, of any realm. Trusted types have no `href`, and no name in TypeScript.
  const address = (workerUrl as URL | null | undefined)?.href ?? workerUrl;
  if (workerUrl !== undefined && !/(String|URL)\]$/.test({}.toString.call(address))) {
    throw new TypeError(
      `${cannot}: \`workerUrl\` must be a string or a URL, got ${kindOf(workerUrl)}`,
    );
  }
  if (maxMemoryBytes !== undefined) checkMemory(maxMemoryBytes);
  // By shape: outside browsers and Deno the classes have no global names.
  if (device !== undefined && typeof (device as GPUDevice | null)?.createBuffer !== "function") {
    throw new TypeError(`${cannot}: \`device\` must be a GPUDevice`);
  }
  if (gpu !== undefined && typeof (gpu as GPU | null)?.requestAdapter !== "function") {
    throw new TypeError(`${cannot}: \`gpu\` must be a GPU, as \`navigator.gpu\` is`);
  }
  if (wide !== undefined && typeof wide !== "boolean") {
    throw new TypeError(`${cannot}: \`wide\` must be a boolean`);
  }
  if (module !== undefined && wide) {
    throw new RangeError(`${cannot}: \`wide\` needs the library's own binary, not \`module\``);
  }
  const told = { workerUrl: address as ReadOptions["workerUrl"] };
  return bare<ReadOptions>(options as ReadOptions, told);
}

function checkMemory(bytes: number): void {
  if (typeof bytes !== "number") {
    throw new TypeError(`${cannot}: \`maxMemoryBytes\` must be a number, got ${typeof bytes}`);
  }
  const { least, most } = memoryLimits;
  if (Number.isSafeInteger(bytes) && bytes >= least && bytes <= most) return;
  throw new RangeError(
    `${cannot}: \`maxMemoryBytes\` must be a whole number from ${least} to ${most}, got ${bytes}`,
  );
}

/**
 * Makes an engine: a backend with its own memory.
 *
 * ```ts
 * import { createEngine, tensor } from "@flashtile/attention";
 *
 * const engine = await createEngine({ backend: "wasm" });
 * const q = engine.tensor([8, 16, 64]); // in linear memory: not copied
 * const k = tensor(new Float32Array(8 * 32 * 64), [8, 32, 64]);
 * const { out } = engine.attentionSync(q, k, k, { causal: true });
 * console.log(out.shape); // [8, 16, 64]
 * await engine.close(); // or `await using engine = ...` where the runtime has it
 * ```
 *
 * @throws {BackendUnavailableError} When the backend asked for cannot serve here; the message says why.
 * @throws {TypeError} On an unknown option or one of a wrong kind.
 * @throws {RangeError} On `maxMemoryBytes` below 1 MiB or above 4 GiB minus a page.
 */
export async function createEngine<Name extends EngineOptions["backend"] = "auto">(
  options: EngineOptions & { readonly backend?: Name | undefined } = {},
): Promise<Engine<MemoryOf<Name>>> {
  const read = readEngineOptions(options);
  const engine: Engine = new MachineEngine(await createMachinery(read), read);
  return engine as unknown as Engine<MemoryOf<Name>>;
}

/**
 * Makes what was asked for to stand on.
 *
 * @param late Whether threads are loaded when a call is worth them.
 */
export async function createMachinery(options: ReadOptions, late = false): Promise<Machinery> {
  const { backend = "auto" } = options;
  if (backend === "wasm") return await createWasmBackend(options);
  const opening = () => import("../webgpu/open.ts");
  if (backend === "webgpu") return await (await opening()).openGpu(options);
  const findGpu: OpenGpu = async (stop) => await (await opening()).openRealGpu(options, stop);
  try {
    return new AutoBackend(await createWasmBackend(options, late), findGpu);
  } catch (reason) {
    if (!(reason instanceof BackendUnavailableError)) throw reason;
    const only = await findGpu(new AbortController().signal);
    if (typeof only === "string") throw reason;
    return only;
  }
}

/**
 * What an engine stands on; `undefined` for anything else, and for an engine of another copy of the library.
 */
export function machineryOf(engine: unknown): Machinery | undefined {
  return machineries.get(engine as object);
}

/** By engine, and not within its class: who takes a function alone leaves that class out. */
const machineries = /* @__PURE__ */ new WeakMap<object, Machinery>();

class MachineEngine implements Engine {
  readonly #machinery: Machinery;
  readonly #options: EngineOptions;

  constructor(machinery: Machinery, options: EngineOptions) {
    this.#machinery = machinery;
    this.#options = options;
    machineries.set(this, machinery);
    sayOf(this, () => `Engine on ${machinery.name}, ${machinery.reason}`);
  }

  get backend(): BackendName {
    return this.#machinery.name;
  }

  get reason(): string {
    return this.#machinery.reason;
  }

  capabilities(): Promise<Capabilities> {
    return capabilities(this.#options);
  }

  get memoryBytes(): number {
    return this.#machinery.memoryBytes;
  }

  async attention<
    Data extends TensorData,
    Keys extends AnyTensor | KvCache,
    Lse extends boolean | undefined,
    Out extends AnyTensor | undefined,
  >(
    q: Tensor<Data>,
    k: Keys,
    ...rest: AttentionRest<Keys, Lse, Out>
  ): Promise<ResultOf<Data, Lse, Out>> {
    const [v, options] = rest as [AnyTensor, AttentionOptions?];
    const result: Promise<AttentionResult<Data>> = isAnyCache(k)
      ? k.attend(q, (v ?? options) as CacheAttentionOptions)
      : runAttention(this.#machinery, readAttention(q, k, v, options));
    return await result as ResultOf<Data, Lse, Out>;
  }

  attentionSync<
    Data extends TensorData,
    Lse extends boolean | undefined,
    Out extends AnyTensor | undefined,
  >(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: Asking<AttentionOptions, Lse, Out>,
  ): ResultOf<Data, Lse, Out> {
    const { own } = this.#machinery;
    checkSync(own, attention);
    const call = readAttention(q, k, v, options, ["encoder"]);
    return runAttentionSync<Data>(own, call) as ResultOf<Data, Lse, Out>;
  }

  async attentionBackward<Q extends TensorData, K extends TensorData, V extends TensorData>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): Promise<AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>>> {
    return await runBackward(this.#machinery, readBackward(dOut, q, k, v, options));
  }

  attentionBackwardSync<Q extends TensorData, K extends TensorData, V extends TensorData>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): AttentionGradients<OwnData<Q>, OwnData<K>, OwnData<V>> {
    return runBackwardSync(this.#machinery.own, dOut, q, k, v, options);
  }

  async attentionWithGradient<Q extends TensorData, K extends TensorData, V extends TensorData>(
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options?: GradientOptions,
  ): Promise<AttentionWithGradient<OwnData<Q>, OwnData<K>, OwnData<V>>> {
    return await runWithGradient(this.#machinery, readWithGradient(q, k, v, options));
  }

  async attentionWeights<Data extends TensorData, Sums extends KeySums | undefined>(
    q: Tensor<Data>,
    k: AnyTensor,
    options?: WeightsOptions,
  ): Promise<WeightsResult<Data, Sums>> {
    return await runWeights(this.#machinery, readWeights(q, k, options));
  }

  tensor<Stored extends DType = "f32">(
    shape: readonly number[] | TypedNumbers,
    dtype: DType = "f32",
  ): EngineTensor<MemoryFor<HostData, Stored>> {
    const extents = readExtents(shape);
    checkDType(dtype);
    // Arrays or buffers, as the engine's type says.
    return this.#machinery.own.tensor(extents, dtype) as EngineTensor<MemoryFor<HostData, Stored>>;
  }

  async mergeAttention<Data extends TensorData>(
    parts: readonly AttentionPart<Data>[],
    options?: MergeOptions,
  ): Promise<AttentionResultWithLse<OwnData<Data>>> {
    return await runMerge(this.#machinery, readMerge(parts, options));
  }

  cascadeAttention<Data extends TensorData, Lse extends boolean | undefined>(
    q: Tensor<Data>,
    prefix: CascadePart,
    suffix: CascadePart,
    options?: CascadeOptions & { readonly lse?: Lse | undefined },
  ): Promise<ResultOf<Data, Lse>> {
    const result = runCascade(this.#machinery, q, prefix, suffix, options);
    return result as Promise<ResultOf<Data, Lse>>;
  }

  async rope(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): Promise<void> {
    await runRope(this.#machinery, readRope(q, k, options));
  }

  ropeSync(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): void {
    runRopeSync(this.#machinery.own, readRope(q, k, options));
  }

  kvCache(options: KvCacheOptions & { readonly layers?: undefined }): KvCache;
  kvCache(options: LayeredKvCacheOptions): LayeredKvCache;
  kvCache(options: KvCacheOptions | LayeredKvCacheOptions): KvCache | LayeredKvCache {
    return makeCache(this.#machinery.own, options);
  }

  async warmup(options: WarmupOptions = {}): Promise<void> {
    const given = readOptions(options, warmupNames, "Cannot warm up");
    const { dim = 64, valueDim = dim, dtype = "f32", gradients = false, precision = "f32" } = given;
    const functions: AttentionOptions = { scoreMod: (score) => score };
    const make = (rows: number, columns: number): HostTensor => {
      const length = rows * columns;
      const data = dtype === "f32" ? new Float32Array(length) : new Uint16Array(length);
      return { data, shape: [rows, columns], dtype };
    };
    if (given.rope) await this.rope(make(1, 2));
    // Many rows, and few against many keys: a GPU has shaders of their own for these.
    for (const [queries, keys] of warmupCalls) {
      const q = make(queries, dim), k = make(keys, dim), v = make(keys, valueDim);
      if (!gradients || precision !== "f32") await this.attention(q, k, v, { precision });
      if (given.functions) await this.attention(q, k, v, functions);
      if (gradients) {
        for (const options of given.functions ? [{}, functions] : [{}]) {
          const { out, backward } = await this.attentionWithGradient(q, k, v, options);
          await backward(out);
        }
      }
    }
  }

  close(): Promise<void> {
    return this.#machinery.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
