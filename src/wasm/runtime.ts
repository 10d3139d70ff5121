/**
 * The runtime, as far as it matters here: whether it is workerd, which has many rules of its own, and
 * whether threads can be had, and how many.
 *
 * @module
 */

/**
 * Whether this is workerd, the runtime of Cloudflare Workers. It compiles WebAssembly while a worker starts and at no time after, has no
 * threads, and checks the bounds of each access to linear memory.
 */
export function isWorkerd(): boolean {
  return globalThis.navigator?.userAgent === "Cloudflare-Workers";
}

/** The part of `process` that is used. */
export interface NodeProcess {
  readonly versions?: { readonly node?: string };
  getBuiltinModule?(name: string): unknown;
}

/** How many threads run at the same time here. */
export function hardwareThreads(): number {
  const known = globalThis.navigator?.hardwareConcurrency;
  if (known !== undefined) return known;
  if (!isServer()) return 1; // Next's edge runtime has a `getBuiltinModule()` that throws.
  const { process } = globalThis as { process?: NodeProcess };
  const os = process?.getBuiltinModule?.("node:os") as
    | { availableParallelism(): number }
    | undefined;
  return os?.availableParallelism() ?? 1;
}

/**
 * Whether this is Node, Deno or Bun, which have worker threads. Neither these nor Deno's `process`
 * are touched to find out: loading what stands behind them takes Deno 20 ms.
 */
export function isServer(): boolean {
  if ("Deno" in globalThis) return true;
  const { process } = globalThis as { process?: NodeProcess };
  return process?.getBuiltinModule !== undefined && process.versions?.node !== undefined &&
    !isWorkerd();
}

/** Why workers over shared memory cannot be used here; `undefined` when they can. */
export function threadsUnavailable(): string | undefined {
  if (typeof SharedArrayBuffer === "undefined") {
    return "there is no shared memory (pages need the headers COOP and COEP)";
  }
  if (isServer()) return undefined;
  if (typeof Worker === "undefined") return "this runtime has no workers";
  if ((globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated === false) {
    return "this page is not cross-origin isolated (it needs the headers COOP and COEP)";
  }
  return undefined;
}
