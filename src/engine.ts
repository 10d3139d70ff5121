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
import { type Capabilities, capabilities } from "./capabilities.ts";
import { BackendUnavailableError } from "./errors.ts";
import type { AttentionOptions } from "./options.ts";
import type { Tensor } from "./tensor.ts";
import { checkKeys } from "./validate.ts";
import { createWasmBackend, memoryLimits } from "./wasm/backend.ts";

/** Options of `createEngine()`. */
export interface EngineOptions {
  /** `"auto"` (default) takes what serves best here; a name is taken or refused, never replaced. */
  readonly backend?: "auto" | BackendName;
  /** Threads of the Wasm backend; only 1 is supported yet, and `"auto"` means 1. */
  readonly threads?: "auto" | number;
  /** A compiled Wasm binary of this library, where compiling at run time is not allowed. */
  readonly module?: WebAssembly.Module;
  /** Most bytes that the Wasm backend's memory may grow to; default 4 GiB less one page. */
  readonly maxMemoryBytes?: number;
}

/** Runs attention on one backend. Made by `createEngine()`. */
export interface Engine extends AsyncDisposable {
  /** The backend that runs. */
  readonly backend: BackendName;
  /** Why it was taken, in words. */
  readonly reason: string;
  /** What the machine offered when the engine was made. */
  readonly capabilities: Capabilities;
  /** Bytes of memory reserved beyond the caller's own arrays. */
  readonly memoryBytes: number;
  /** As the function `attention()`. */
  attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: AttentionOptions & { readonly lse: true },
  ): Promise<AttentionResultWithLse>;
  attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options?: AttentionOptions,
  ): Promise<AttentionResult>;
  /** The same without a promise: blocks until it is done. Wasm only. */
  attentionSync(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options: AttentionOptions & { readonly lse: true },
  ): AttentionResultWithLse;
  attentionSync(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options?: AttentionOptions,
  ): AttentionResult;
  /** A tensor of zeros in the backend's own memory: calls read and write it without a copy. */
  tensor(shape: readonly number[], dtype?: "f32"): EngineTensor;
  /** Gets ready, so that the first call is as fast as the next. */
  warmup(): Promise<void>;
  /** Frees everything. Running calls reject, later ones throw. */
  close(): Promise<void>;
}

const cannot = "Cannot create an engine";
const known = ["backend", "threads", "module", "maxMemoryBytes", "device", "gpu"];

function checkEngineOptions(options: EngineOptions): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`${cannot}: options must be an object, got ${options}`);
  }
  checkKeys(options, known, cannot);
  const { backend = "auto", threads = "auto", module, maxMemoryBytes } = options;
  if (!["auto", "wasm", "webgpu"].includes(backend)) {
    throw new TypeError(
      `${cannot}: \`backend\` must be "auto", "wasm" or "webgpu", got ${JSON.stringify(backend)}`,
    );
  }
  if (threads !== "auto" && !(Number.isSafeInteger(threads) && threads >= 1)) {
    throw new RangeError(`${cannot}: \`threads\` must be "auto" or at least 1, got ${threads}`);
  }
  if (threads !== "auto" && threads > 1) {
    throw new Error(`${cannot}: \`threads\` above 1 is not supported yet`);
  }
  if (module !== undefined && !(module instanceof WebAssembly.Module)) {
    throw new TypeError(`${cannot}: \`module\` must be a WebAssembly.Module`);
  }
  if (maxMemoryBytes !== undefined) checkMemory(maxMemoryBytes);
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
export async function createEngine(options: EngineOptions = {}): Promise<Engine> {
  checkEngineOptions(options);
  const offered = await capabilities();
  if (options.backend === "webgpu") {
    throw new BackendUnavailableError("webgpu", offered.webgpu.reason);
  }
  return new BackendEngine(await createWasmBackend(options), offered);
}

class BackendEngine implements Engine {
  readonly backend: BackendName;
  readonly reason: string;
  readonly capabilities: Capabilities;
  readonly #backend: Backend;

  constructor(backend: Backend, offered: Capabilities) {
    this.backend = backend.name;
    this.reason = backend.reason;
    this.capabilities = offered;
    this.#backend = backend;
  }

  get memoryBytes(): number {
    return this.#backend.memoryBytes;
  }

  attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options?: AttentionOptions,
  ): Promise<AttentionResultWithLse> {
    return runAttention(this.#backend, q, k, v, options) as Promise<AttentionResultWithLse>;
  }

  attentionSync(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    options?: AttentionOptions,
  ): AttentionResultWithLse {
    return runAttentionSync(this.#backend, q, k, v, options) as AttentionResultWithLse;
  }

  tensor(shape: readonly number[], dtype = "f32"): EngineTensor {
    if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0)) {
      throw new TypeError("Cannot make a tensor: `shape` must be an array of whole numbers >= 0");
    }
    if (dtype !== "f32") {
      throw new Error(`Cannot make a tensor: dtype ${dtype} is not supported yet`);
    }
    return this.#backend.tensor(shape);
  }

  async warmup(): Promise<void> {
    const one = { data: new Float32Array(8 * 8), shape: [8, 8] };
    await this.attention(one, one, one);
  }

  // deno-lint-ignore require-await -- a GPU backend waits for its device here
  async close(): Promise<void> {
    this.#backend.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
