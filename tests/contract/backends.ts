/**
 * Every backend that the contract holds for. A new one is one more entry.
 *
 * @module
 */

import { test } from "node:test";
import { createEngine, type Engine, type EngineOptions } from "@flashtile/attention";
import { countThreads } from "../../src/wasm/backend.ts";
import { binaryBytes, type BinaryName } from "../../src/wasm/module.ts";

/** What a backend may have or lack. */
export type Feature = "attentionSync" | "maxMemoryBytes";

/** A backend under test. */
export interface BackendUnderTest {
  readonly name: string;
  /** Threads that it has. */
  readonly threads: number;
  /** Makes an engine on it. */
  make(options?: EngineOptions): Promise<Engine>;
  /** Why it cannot run here, in words. */
  readonly unavailable?: string;
  /** What it does not offer, and why, in words. */
  readonly lacks?: { readonly [Lacked in Feature]?: string };
}

const modules = new Map<BinaryName, Promise<WebAssembly.Module>>();

function wasm(binary: BinaryName): BackendUnderTest {
  return {
    name: `wasm ${binary}`,
    threads: 1,
    async make(options) {
      if (!modules.has(binary)) modules.set(binary, WebAssembly.compile(binaryBytes(binary)));
      return await createEngine({ backend: "wasm", module: await modules.get(binary), ...options });
    },
    ...(!WebAssembly.validate(binaryBytes(binary)) && {
      unavailable: "this runtime has no relaxed SIMD",
    }),
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

/** The list. */
export const backends: readonly BackendUnderTest[] = [
  wasm("simd"),
  wasm("relaxed"),
  threaded(2),
  threaded(3),
  { name: "auto", threads: countThreads("auto"), make: (options) => createEngine(options) },
];

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
  readonly needs?: Feature;
  /** Why the test waits, in words. */
  readonly skip?: string;
}

/** A test that every backend must pass, each with an engine of its own. */
export function contract(
  name: string,
  use: (engine: Engine, backend: BackendUnderTest) => void | Promise<void>,
  { needs, skip, ...options }: ContractOptions = {},
): void {
  for (const backend of backends) {
    const reason = backend.unavailable ?? (needs && backend.lacks?.[needs]) ?? skip;
    test(
      `${name} (${backend.name})`,
      reason === undefined ? {} : { skip: reason },
      () => withEngine(backend, use, options),
    );
  }
}
