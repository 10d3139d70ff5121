/**
 * The engine: a backend, its memory, its life cycle.
 *
 * @module
 */

import {
  type AttentionResult,
  type AttentionResultWithLse,
  runAttention,
  runAttentionSync,
} from "./attention.ts";
import type { Backend, BackendName, EngineTensor } from "./backend.ts";
import {
  type AttentionGradients,
  type AttentionWithGradient,
  type BackwardOptions,
  type GradientOptions,
  readBackward,
  readWithGradient,
  runBackward,
  runBackwardSync,
  runWithGradient,
} from "./backward.ts";
import { isCache, KvCache } from "./cache/kv_cache.ts";
import type { CacheAttentionOptions, KvCacheOptions } from "./cache/options.ts";
import { type Capabilities, capabilities } from "./capabilities.ts";
import { type CascadeOptions, type CascadePart, runCascade } from "./cascade.ts";
import type { DType, HostData, TensorData } from "./dtype.ts";
import { BackendUnavailableError } from "./errors.ts";
import { type AttentionPart, type MergeOptions, readMerge, runMerge } from "./merge.ts";
import type { AttentionOptions } from "./options.ts";
import { type RopeOptions, runRope } from "./rope.ts";
import { type AnyTensor, checkDType, type HostTensor, readExtents, type Tensor } from "./tensor.ts";
import { readOptions } from "./validate/words.ts";
import { AutoBackend, type OpenGpu } from "./auto.ts";
import { createWasmBackend, memoryLimits } from "./wasm/backend.ts";
import { isModule } from "./wasm/module.ts";

/** Options of `createEngine()`. */
export interface EngineOptions {
  /** `"auto"` (default) takes what serves best here; a name is taken or refused, never replaced. */
  readonly backend?: "auto" | BackendName;
  /**
   * Threads of the Wasm backend, the calling one included. `"auto"` (default) takes as many as run
   * at the same time here, and for work too small to gain from them none but the calling one. A
   * number is taken or refused. Where workers then cannot begin, as under a Content-Security-Policy
   * without `worker-src blob:`, the calling thread does all the work, and `reason` says why.
   */
  readonly threads?: "auto" | number;
  /** A compiled Wasm binary of this library, where compiling at run time is not allowed. */
  readonly module?: WebAssembly.Module;
  /** Most bytes that the Wasm backend's memory may grow to; default 4 GiB less one page. */
  readonly maxMemoryBytes?: number;
  /**
   * The caller's own GPU device: tensors may then be buffers of it. It stays the caller's, and is not
   * destroyed with the engine.
   */
  readonly device?: GPUDevice;
  /** Where GPU adapters come from; by default `navigator.gpu`, or the package `webgpu` if it is there. */
  readonly gpu?: GPU;
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
  attention<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options: AttentionOptions & { readonly lse: true },
  ): Promise<AttentionResultWithLse<Data>>;
  /** The same without `lse`. */
  attention<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: AttentionOptions,
  ): Promise<AttentionResult<Data>>;
  /** Attention to a cache: as `cache.attend(q, options)`. */
  attention<Data extends TensorData>(
    q: Tensor<Data>,
    cache: KvCache,
    options: CacheAttentionOptions & { readonly lse: true },
  ): Promise<AttentionResultWithLse<Data>>;
  /** The same without `lse`. */
  attention<Data extends TensorData>(
    q: Tensor<Data>,
    cache: KvCache,
    options?: CacheAttentionOptions,
  ): Promise<AttentionResult<Data>>;
  /** The same without a promise: blocks until it is done. Wasm only. */
  attentionSync<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options: AttentionOptions & { readonly lse: true },
  ): AttentionResultWithLse<Data>;
  /** The same without `lse`. */
  attentionSync<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: AttentionOptions,
  ): AttentionResult<Data>;
  /** As the function `attentionBackward()`. */
  attentionBackward<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): Promise<AttentionGradients<Q, K, V>>;
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
   * await using engine = await createEngine({ backend: "wasm" });
   * await engine.warmup({ gradients: true });
   *
   * const x = tensor(new Float32Array(8 * 16 * 64), [8, 16, 64]);
   * const { out, lse } = engine.attentionSync(x, x, x, { causal: true, lse: true });
   * const dOut = out; // as for the loss sum(out ** 2) / 2
   * const { dq } = engine.attentionBackwardSync(dOut, x, x, x, { causal: true, out, lse });
   * console.log(dq.shape); // [8, 16, 64]
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
  ): AttentionGradients<Q, K, V>;
  /** As the function `attentionWithGradient()`. */
  attentionWithGradient<Q extends TensorData, K extends TensorData = Q, V extends TensorData = Q>(
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options?: GradientOptions,
  ): Promise<AttentionWithGradient<Q, K, V>>;
  /** A tensor of zeros in the backend's own memory: calls read and write it without a copy. */
  tensor(
    shape: readonly number[],
    dtype?: "f32",
  ): EngineTensor<Memory extends GPUBuffer ? GPUBuffer : Float32Array>;
  /** The same in another storage. */
  tensor(shape: readonly number[], dtype: DType): EngineTensor<Memory>;
  /** As the function `mergeAttention()`. */
  mergeAttention<Data extends TensorData>(
    parts: readonly AttentionPart<Data>[],
    options?: MergeOptions,
  ): Promise<AttentionResultWithLse<Data>>;
  /**
   * Attention to a prefix that all sequences share and to what each has of its own: the prefix is read
   * once for the whole batch, and the two are merged exactly.
   *
   * ```ts
   * import { createEngine } from "@flashtile/attention";
   *
   * await using engine = await createEngine({ backend: "wasm" });
   * const prefix = engine.kvCache({ kvHeads: 2, headDim: 64 }); // one sequence: a system prompt
   * const own = engine.kvCache({ batch: 16, kvHeads: 2, headDim: 64 });
   * const keys = engine.tensor([1, 2, 500, 64]), token = engine.tensor([16, 2, 1, 64]);
   * prefix.append(keys, keys);
   * own.append(token, token);
   * const q = engine.tensor([16, 8, 1, 64]);
   * const { out } = await engine.cascadeAttention(q, prefix, own, { causal: true });
   * console.log(out.shape); // [16, 8, 1, 64]
   * ```
   *
   * @param q Queries `[B, Hq, N, D]`.
   * @param prefix What all share: a cache of one sequence, or `{ k, v }` of `[1, Hkv, P, D]`.
   * @param suffix What each has: a cache of B sequences, or `{ k, v }` of `[B, Hkv, S, D]`; `causal` is
   * about these.
   */
  cascadeAttention<Data extends TensorData>(
    q: Tensor<Data>,
    prefix: CascadePart,
    suffix: CascadePart,
    options: CascadeOptions & { readonly lse: true },
  ): Promise<AttentionResultWithLse<Data>>;
  /** The same without `lse`. */
  cascadeAttention<Data extends TensorData>(
    q: Tensor<Data>,
    prefix: CascadePart,
    suffix: CascadePart,
    options?: CascadeOptions,
  ): Promise<AttentionResult<Data>>;
  /**
   * Rotary position embedding in place (Su et al., arXiv 2104.09864): every row of `q` and `k` is
   * turned by its position. Angles are computed in double precision.
   *
   * ```ts
   * import { createEngine } from "@flashtile/attention";
   *
   * await using engine = await createEngine({ backend: "wasm" });
   * const q = engine.tensor([8, 16, 64]), k = engine.tensor([2, 16, 64]);
   * await engine.rope(q, k, { positions: 100 }); // rows 100 to 115
   * ```
   *
   * @param q Rows `[B, H, N, D]` of any rank and storage.
   * @param k Others with the same B, N and D; `null` for none.
   * @throws {RangeError} When shapes, positions or dims do not fit.
   */
  rope(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): Promise<void>;
  /**
   * A KV cache in the backend's own memory.
   *
   * @throws {RangeError} When sizes are none, `batch` is above 65,536, or options do not go together.
   */
  kvCache(options: KvCacheOptions): KvCache;
  /** Gets ready for calls of such tensors, so that the first is as fast as the next. */
  warmup(options?: WarmupOptions): Promise<void>;
  /** Frees everything and ends the threads. Running calls reject, later ones throw. */
  close(): Promise<void>;
}

/** What an engine gets ready for. */
export interface WarmupOptions {
  /** D, 64 by default. */
  readonly dim?: number;
  /** Dv, as D by default. */
  readonly valueDim?: number;
  /** How elements are stored, f32 by default. */
  readonly dtype?: DType;
  /** Also for gradients, which are not loaded otherwise before they are asked for. */
  readonly gradients?: boolean;
}

/** Queries and keys of the calls that an engine gets ready with. */
const warmupCalls = [[80, 16], [1, 1040]] as const;

const cannot = "Cannot create an engine";
const known = ["backend", "threads", "module", "maxMemoryBytes", "device", "gpu"] as const;

/** Reads the options of an engine, once: what is asked for an adapter takes time. */
function readEngineOptions(given: EngineOptions): EngineOptions {
  const options = readOptions(given, known, cannot);
  const { backend = "auto", threads = "auto", module, maxMemoryBytes, device, gpu } = options;
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
  if (maxMemoryBytes !== undefined) checkMemory(maxMemoryBytes);
  // By shape: outside browsers and Deno the classes have no global names.
  if (device !== undefined && typeof (device as GPUDevice | null)?.createBuffer !== "function") {
    throw new TypeError(`${cannot}: \`device\` must be a GPUDevice`);
  }
  if (gpu !== undefined && typeof (gpu as GPU | null)?.requestAdapter !== "function") {
    throw new TypeError(`${cannot}: \`gpu\` must be a GPU, as \`navigator.gpu\` is`);
  }
  return options;
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
 * await using engine = await createEngine({ backend: "wasm" });
 * const q = engine.tensor([8, 16, 64]); // in linear memory: not copied
 * const k = tensor(new Float32Array(8 * 32 * 64), [8, 32, 64]);
 * const { out } = engine.attentionSync(q, k, k, { causal: true });
 * console.log(out.shape); // [8, 16, 64]
 * ```
 *
 * @throws {BackendUnavailableError} When the backend asked for cannot serve here; the message says why.
 * @throws {TypeError} On an unknown option or one of a wrong kind.
 * @throws {RangeError} On `maxMemoryBytes` below 1 MiB or above 4 GiB less a page.
 */
export async function createEngine(
  options: EngineOptions & { readonly backend: "webgpu" },
): Promise<Engine<GPUBuffer>>;
/** The same where nobody has decided on a GPU: tensors of its own are arrays. */
export async function createEngine(options?: EngineOptions): Promise<Engine>;
export async function createEngine(
  given: EngineOptions = {},
): Promise<Engine | Engine<GPUBuffer>> {
  const options = readEngineOptions(given);
  return new BackendEngine(await createBackend(options), options);
}

/**
 * Makes the backend that was asked for.
 *
 * @param late Whether threads are loaded when a call is worth them.
 */
export async function createBackend(options: EngineOptions, late = false): Promise<Backend> {
  const { backend = "auto" } = options;
  if (backend === "wasm") return await createWasmBackend(options);
  const opening = () => import("./webgpu/open.ts");
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

class BackendEngine implements Engine {
  readonly #backend: Backend;
  readonly #options: EngineOptions;

  constructor(backend: Backend, options: EngineOptions) {
    this.#backend = backend;
    this.#options = options;
  }

  get backend(): BackendName {
    return this.#backend.name;
  }

  get reason(): string {
    return this.#backend.reason;
  }

  capabilities(): Promise<Capabilities> {
    return capabilities(this.#options);
  }

  get memoryBytes(): number {
    return this.#backend.memoryBytes;
  }

  attention<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor | KvCache,
    v?: AnyTensor | CacheAttentionOptions,
    options?: AttentionOptions,
  ): Promise<AttentionResultWithLse<Data>> {
    const result = isCache(k)
      ? k.attend(q, (v ?? options) as CacheAttentionOptions)
      : runAttention(this.#backend, q, k, v as AnyTensor, options);
    return result as Promise<AttentionResultWithLse<Data>>;
  }

  attentionSync<Data extends TensorData>(
    q: Tensor<Data>,
    k: AnyTensor,
    v: AnyTensor,
    options?: AttentionOptions,
  ): AttentionResultWithLse<Data> {
    return runAttentionSync(this.#backend, q, k, v, options) as AttentionResultWithLse<Data>;
  }

  async attentionBackward<Q extends TensorData, K extends TensorData, V extends TensorData>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): Promise<AttentionGradients<Q, K, V>> {
    return await runBackward(this.#backend, readBackward(dOut, q, k, v, options));
  }

  attentionBackwardSync<Q extends TensorData, K extends TensorData, V extends TensorData>(
    dOut: AnyTensor,
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options: BackwardOptions,
  ): AttentionGradients<Q, K, V> {
    return runBackwardSync(this.#backend, dOut, q, k, v, options);
  }

  async attentionWithGradient<Q extends TensorData, K extends TensorData, V extends TensorData>(
    q: Tensor<Q>,
    k: Tensor<K>,
    v: Tensor<V>,
    options?: GradientOptions,
  ): Promise<AttentionWithGradient<Q, K, V>> {
    return await runWithGradient(this.#backend, readWithGradient(q, k, v, options));
  }

  tensor(shape: readonly number[], dtype?: "f32"): EngineTensor;
  tensor(shape: readonly number[], dtype: DType): EngineTensor<HostData>;
  tensor(shape: readonly number[], dtype: DType = "f32"): EngineTensor<HostData> {
    const extents = readExtents(shape);
    checkDType(dtype);
    // Arrays or buffers, as the engine's type says.
    return this.#backend.tensor(extents, dtype) as EngineTensor<HostData>;
  }

  async mergeAttention<Data extends TensorData>(
    parts: readonly AttentionPart<Data>[],
    options?: MergeOptions,
  ): Promise<AttentionResultWithLse<Data>> {
    return await runMerge(this.#backend, readMerge(parts, options));
  }

  cascadeAttention<Data extends TensorData>(
    q: Tensor<Data>,
    prefix: CascadePart,
    suffix: CascadePart,
    options?: CascadeOptions,
  ): Promise<AttentionResultWithLse<Data>> {
    const result = runCascade(this.#backend, q, prefix, suffix, options);
    return result as Promise<AttentionResultWithLse<Data>>;
  }

  rope(q: AnyTensor, k?: AnyTensor | null, options?: RopeOptions): Promise<void> {
    return runRope(this.#backend, q, k, options);
  }

  kvCache(options: KvCacheOptions): KvCache {
    return new KvCache(this.#backend, options);
  }

  async warmup(options: WarmupOptions = {}): Promise<void> {
    const given = readOptions(options, ["dim", "valueDim", "dtype", "gradients"], "Cannot warm up");
    const { dim = 64, valueDim = dim, dtype = "f32", gradients = false } = given;
    const make = (rows: number, columns: number): HostTensor => {
      const length = rows * columns;
      const data = dtype === "f32" ? new Float32Array(length) : new Uint16Array(length);
      return { data, shape: [rows, columns], dtype };
    };
    // Many rows, and few against many keys: a GPU has shaders of their own for these.
    for (const [queries, keys] of warmupCalls) {
      const q = make(queries, dim), k = make(keys, dim), v = make(keys, valueDim);
      if (!gradients) await this.attention(q, k, v);
      else {
        const { out, backward } = await this.attentionWithGradient(q, k, v);
        await backward(out);
      }
    }
  }

  close(): Promise<void> {
    return this.#backend.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
