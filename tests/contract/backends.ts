/**
 * Every backend that the contract holds for. A new one is one more entry.
 *
 * @module
 */

import { createEngine, type Engine, type EngineOptions } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { countThreads } from "../../src/wasm/backend.ts";
import { binaries, wideBinary } from "../support/binaries.ts";
import { noGpu, sharedDevice } from "../support/device.ts";
import { setting } from "../support/gpu.ts";
import { isWhole, otherStack, sharedOut, someOf, untilWhole } from "../support/share.ts";

/**
 * What a backend may have or lack: calls that block, a bound of its memory, tensors of its own that
 * are arrays, memory that is linear (so that its size is known to the byte), inputs that are read
 * while the call runs, KV caches, those of four bits, merging, rotation, rows whose bits do not depend on how many others there are, gradients,
 * those of rows by themselves, products by integers of 16 bits, by the bytes of a cache's keys as they are stored, score and mask
 * functions, those of thousands of operations, layers between attention calls.
 */
export type Feature =
  | "attentionSync"
  | "maxMemoryBytes"
  | "hostTensors"
  | "linearMemory"
  | "readsWhileRunning"
  | "kvCache"
  | "int4Cache"
  | "mergeAttention"
  | "rope"
  | "sameBitsForFewRows"
  | "backward"
  | "rowGradients"
  | "int16"
  | "keyBytes"
  | "functions"
  | "deepFunctions"
  | "layers";

/** A backend under test. */
export interface BackendUnderTest {
  readonly name: string;
  /** Threads that it has. */
  readonly threads: number;
  /** Bytes that it keeps for later calls at most; without it, what a call had stays. */
  readonly idleBytes?: number;
  /** Makes an engine on it. */
  make(options?: EngineOptions): Promise<Engine>;
  /** Why it cannot run here, in words. */
  readonly unavailable?: string;
  /** What it does not offer, and why, in words. */
  readonly lacks?: { readonly [Lacked in Feature]?: string };
}

const bytesOf = { ...binaries, wide: wideBinary } as const;

type Binary = keyof typeof bytesOf;

const modules = new Map<Binary, Promise<WebAssembly.Module>>();

/** Whether this is the run of the wide program, with V8's flag: `FLASHTILE_WIDE=1`. */
const isWide = setting("FLASHTILE_WIDE") !== undefined;

/** Why a binary is not tried. */
function unavailable(binary: Binary): string | undefined {
  if (!WebAssembly.validate(bytesOf[binary])) return "this runtime has no relaxed SIMD";
  if (binary === "wide" && isWhole && !isWide) {
    return "has a run of its own: FLASHTILE_WIDE=1";
  }
}

function wasm(binary: Binary): BackendUnderTest {
  return {
    name: `wasm ${binary}`,
    threads: 1,
    async make(options) {
      if (!modules.has(binary)) modules.set(binary, WebAssembly.compile(bytesOf[binary]));
      return await createEngine({ backend: "wasm", module: await modules.get(binary), ...options });
    },
    unavailable: unavailable(binary),
  };
}

/**
 * The binary that is chosen here, on several threads. Where these cannot be had its tests fail: the
 * threaded path must not be left out unseen.
 */
function threaded(threads: number): BackendUnderTest {
  return {
    name: `wasm, ${threads} threads`,
    threads,
    make: (options) => createEngine({ backend: "wasm", threads, ...options }),
  };
}

const webgpu: BackendUnderTest = {
  name: "webgpu",
  threads: 1,
  idleBytes: 64 * 2 ** 20, // Buffers that wait to be used again.
  async make(options) {
    const engine = await createEngine({
      backend: "webgpu",
      device: await sharedDevice(),
      ...options,
    });
    return engine as unknown as Engine; // Tests of its own tensors are left out below.
  },
  ...(noGpu !== undefined && { unavailable: noGpu }),
  lacks: {
    attentionSync: "nobody can wait for a GPU without a promise",
    maxMemoryBytes: "the GPU's memory has no bound that an engine could set",
    hostTensors: "its own tensors are buffers: tests/webgpu",
    linearMemory: "its memory is a pool of buffers: tests/webgpu",
    int4Cache: "caches of four bits are for the CPU",
    readsWhileRunning: "arrays are uploaded before the call runs",
    sameBitsForFewRows: "keys are split where a head has few rows",
    rowGradients: "gradients of rows by themselves are for the CPU",
    int16: "WGSL multiplies bytes alone",
    keyBytes: "keys of a cache are widened before they become integers",
    deepFunctions: "shaders of thousands of operations take software minutes to compile",
  },
};

/** Each binary, on the calling thread; the run of the wide program has that alone. */
const alone = isWide ? [wasm("wide")] : [wasm("simd"), wasm("relaxed"), wasm("wide")];

/** The binary that is chosen here, on threads. */
const onThreads: readonly BackendUnderTest[] = isWide ? [] : [
  threaded(2),
  threaded(3),
  { name: "auto", threads: countThreads("auto"), make: (options) => createEngine(options) },
];

const onCpu: readonly BackendUnderTest[] = [...alone, ...onThreads];

/** The list. */
export const backends: readonly BackendUnderTest[] = isWide ? onCpu : [...onCpu, webgpu];

/** Asserts that an engine has no more memory than `bytes`, or than its backend keeps for later. */
export function assertGivenBack(engine: Engine, bytes: number, backend: BackendUnderTest): void {
  const { idleBytes } = backend;
  if (idleBytes === undefined) assertEquals(engine.memoryBytes, bytes);
  else assert(engine.memoryBytes <= idleBytes, `${engine.memoryBytes} bytes`);
}

/** Makes an engine, lends it, and closes it whatever happens. */
export async function withEngine(
  backend: BackendUnderTest,
  use: (engine: Engine, backend: BackendUnderTest) => void | Promise<void>,
  options?: EngineOptions,
): Promise<void> {
  const engine = await backend.make(options);
  try {
    await use(engine, backend);
  } finally {
    await engine.close();
  }
}

/** Demands on a backend, and what only some tests need. */
export interface ContractOptions extends EngineOptions {
  readonly needs?: Feature | readonly Feature[];
  /** Why the test waits, in words. */
  readonly skip?: string;
  /**
   * Backends on the CPU that a daily run tries it on; 1 by default, 1 / 3 for what takes a quarter of a second: one, every third
   * time.
   */
  readonly daily?: number;
}

/**
 * Backends on the CPU that this run tries a test on. Of those with threads whole runs have one, another one with each
 * seed: they run the same program, and tests of threads have more of them by themselves.
 */
function backendsOfNow(name: string, daily: number): readonly BackendUnderTest[] {
  if (isWide) return onCpu;
  return isWhole ? [...alone, ...someOf(onThreads, 1, name)] : sharedOut(onCpu, daily, name);
}

/** A test that every backend must pass, each with an engine of its own. */
export function contract(
  name: string,
  use: (engine: Engine, backend: BackendUnderTest) => void | Promise<void>,
  { needs, skip, daily = 1, ...options }: ContractOptions = {},
): void {
  const now = backendsOfNow(name, daily);
  for (const backend of backends) {
    const left = backend === webgpu
      ? otherStack(name)
      : now.includes(backend)
      ? undefined
      : isWhole
      ? "threads are tried on another backend with this seed"
      : untilWhole;
    const lacking = [needs ?? []].flat().find((feature) => backend.lacks?.[feature]);
    const reason = backend.unavailable ?? (lacking && backend.lacks?.[lacking]) ?? skip ?? left;
    test(
      `${name} (${backend.name})`,
      reason === undefined ? {} : { skip: reason },
      () => withEngine(backend, use, options),
    );
  }
}
