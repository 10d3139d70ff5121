/**
 * WebGPU as the tests find it: `navigator.gpu` in Deno and browsers; in Node and Bun the npm
 * package `webgpu`, where `FLASHTILE_WEBGPU` names its `index.js`.
 *
 * @module
 */

import { once } from "./once.ts";

/** A setting: in the environment, or in a page a global. */
export function setting(name: string): string | undefined {
  if (typeof Deno !== "undefined") {
    // Only where it may be read: otherwise Deno would stop and ask.
    const { state } = Deno.permissions.querySync({ name: "env", variable: name });
    return state === "granted" ? Deno.env.get(name) : undefined;
  }
  const { process, [name]: ofPage } = globalThis as unknown as {
    process?: { env: Record<string, string | undefined> };
    [name: string]: unknown;
  };
  return process?.env[name] ?? ofPage as string | undefined;
}

/** Whether a test fails where there is no adapter, instead of being skipped. */
export const gpuRequired = setting("FLASHTILE_REQUIRE_GPU") === "1";

/** The package `webgpu`, which is Dawn. */
interface Dawn {
  create(options: readonly string[]): GPU;
  /** Classes and constants that are global elsewhere. */
  readonly globals: object;
}

/** Made once and kept: Dawn crashes the process when its object is collected. */
const dawn = once(async (): Promise<GPU | undefined> => {
  const path = setting("FLASHTILE_WEBGPU");
  if (path === undefined) return undefined;
  // A computed address: no bundler should follow it.
  const { create, globals }: Dawn = await import(new URL(path, "file:///").href);
  Object.assign(globalThis, globals);
  return create([]);
});

/** The way to adapters, where this runtime has one. There may be no adapter all the same. */
export async function findGpu(): Promise<GPU | undefined> {
  return globalThis.navigator?.gpu ?? await dawn();
}
