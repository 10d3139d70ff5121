/**
 * The runtime, as far as it matters here: its clock and timers, whether it is workerd, which has many
 * rules of its own, and whether threads can be had, and how many.
 *
 * @module
 */

/** The part of the runtime's globals that is used, some of which each runtime lacks. */
interface Host {
  /** Of Vercel and Next, where immediates and messages are functions that throw. */
  EdgeRuntime?: string;
  setTimeout(callback: () => void, milliseconds?: number): unknown;
  clearTimeout(timer: unknown): void;
  setImmediate?: (callback: () => void) => void;
  MessageChannel?: typeof globalThis.MessageChannel;
  performance?: { now(): number };
}

/** Time. */
export interface Clock {
  /** Milliseconds since some moment. */
  now(): number;
  /** Calls back after some milliseconds; gives what `cancel()` takes. */
  after(milliseconds: number, callback: () => void): unknown;
  cancel(timer: unknown): void;
}

/** Time by what a host has of clocks and timers; some have no `performance`. */
export function clockBy({ setTimeout, clearTimeout, performance }: Host): Clock {
  const tell = performance?.now ?? Date.now;
  return {
    now: () => tell.call(performance),
    after: (milliseconds, callback) => setTimeout(callback, milliseconds),
    cancel: (timer) => clearTimeout(timer),
  };
}

/**
 * How timers, messages and input are given their turn: by `setImmediate` where it exists, since Bun runs
 * messages before timers, so that a chain of messages would starve them. Pages have only messages;
 * `setTimeout` would wait 4 ms there. Some edge runtimes have nothing else.
 */
export function turnBy(
  { EdgeRuntime, setImmediate, MessageChannel, setTimeout }: Omit<Host, "clearTimeout">,
): () => Promise<void> {
  if (EdgeRuntime !== undefined) return () => new Promise((resolve) => setTimeout(resolve, 0));
  if (setImmediate !== undefined) return () => new Promise((resolve) => setImmediate(resolve));
  if (MessageChannel === undefined) return () => new Promise((resolve) => setTimeout(resolve, 0));
  return () =>
    new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        port1.close(); // An open port would keep the process alive.
        resolve();
      };
      port2.postMessage(null);
    });
}

const host = globalThis as unknown as Host;

// Both are those of the time when the library was loaded: who tests programs puts others in their place,
// which stand still, and a call would never settle.

/** The runtime's time. */
export const clock: Clock = /* @__PURE__ */ clockBy(host);

/** Lets timers, messages and input have their turn. */
export const turn: () => Promise<void> = /* @__PURE__ */ turnBy(host);

/**
 * Whether this is workerd, the runtime of Cloudflare Workers. It compiles WebAssembly while a worker
 * starts and at no time after, has no threads, and checks the bounds of each access to linear memory.
 */
export function isWorkerd(): boolean {
  return globalThis.navigator?.userAgent === "Cloudflare-Workers";
}

/** The part of `process` that is used. */
export interface NodeProcess {
  /** Electron's kinds of processes. */
  readonly type?: string;
  readonly versions?: { readonly node?: string };
  getBuiltinModule?(name: string): unknown;
}

/** A number of threads, where it can be one: browsers that hide it have told 0, NaN and halves. */
function asThreads(told: number | undefined): number | undefined {
  return told !== undefined && told >= 1 && told < Infinity ? Math.floor(told) : undefined;
}

/** How many threads run at the same time here. */
export function hardwareThreads(): number {
  const known = asThreads(globalThis.navigator?.hardwareConcurrency);
  if (known !== undefined) return known;
  if (!isServer()) return 1; // Next's edge runtime has a `getBuiltinModule()` that throws.
  const { process } = globalThis as { process?: NodeProcess };
  const os = process?.getBuiltinModule?.("node:os") as
    | { availableParallelism(): number }
    | undefined;
  return asThreads(os?.availableParallelism()) ?? 1;
}

/**
 * Whether this is Node, Deno or Bun, which have worker threads. Neither these nor Deno's `process`
 * are touched to find out: loading what stands behind them takes Deno 20 ms.
 */
export function isServer(): boolean {
  if ("Deno" in globalThis) return true;
  const { process } = globalThis as { process?: NodeProcess };
  // Electron's renderers, and workers there, are pages with Node beside them, without its threads.
  return process?.getBuiltinModule !== undefined && process.versions?.node !== undefined &&
    !/[rk]er$/.test(`${process.type}`) && !isWorkerd();
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
