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
export function clockBy(host: Host): Clock {
  const { performance } = host, tell = performance?.now ?? Date.now;
  return {
    now: () => tell.call(performance),
    after(milliseconds, callback) {
      const { setTimeout } = host; // Called as a method it would throw in browsers.
      return setTimeout(callback, milliseconds);
    },
    cancel(timer) {
      const { clearTimeout } = host;
      clearTimeout(timer);
    },
  };
}

/**
 * How timers, messages and input are given their turn: by `setImmediate` where it exists, since Bun runs
 * messages before timers, so that a chain of messages would starve them. Pages have only messages;
 * `setTimeout` would wait 4 ms there. Some edge runtimes have nothing else.
 */
export function yieldTurnBy(
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

/**
 * Reads a global as it is now. Deno keeps its timers behind getters that load Node's when first asked,
 * which takes 5 ms: there the getter is kept, and asked by the first call that needs a timer.
 */
function keep<Name extends keyof Host>(host: Host, name: Name): () => Host[Name] {
  const getter = "Deno" in host && Object.getOwnPropertyDescriptor(host, name)?.get;
  if (getter) return getter as () => Host[Name];
  const value = host[name];
  return () => value;
}

/** What a host has of clocks and timers now, whatever is put in these places later. */
export function keepTime(host: Host): Host {
  const [setTimeout, clearTimeout] = [keep(host, "setTimeout"), keep(host, "clearTimeout")];
  const setImmediate = keep(host, "setImmediate");
  const { EdgeRuntime, MessageChannel, performance } = host;
  return {
    ...{ EdgeRuntime, MessageChannel, performance },
    get setTimeout() {
      return setTimeout();
    },
    get clearTimeout() {
      return clearTimeout();
    },
    get setImmediate() {
      return setImmediate();
    },
  };
}

// Who tests programs puts other timers and clocks in these places, which stand still: with those a call
// would never settle.
const kept: Host = /* @__PURE__ */ keepTime(globalThis as unknown as Host);

/** The runtime's time. */
export const clock: Clock = /* @__PURE__ */ clockBy(kept);

let takeTurn: (() => Promise<void>) | undefined;

/** Lets timers, messages and input have their turn. */
export function yieldTurn(): Promise<void> {
  return (takeTurn ??= yieldTurnBy(kept))();
}

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
  const { crossOriginIsolated } = globalThis as { crossOriginIsolated?: boolean };
  if (typeof SharedArrayBuffer === "undefined") {
    const remedy = crossOriginIsolated ? "" : " (pages need the headers COOP and COEP)";
    return `there is no shared memory${remedy}`;
  }
  if (isServer()) return undefined;
  if (typeof Worker === "undefined") return "this runtime has no workers";
  if (crossOriginIsolated === false) {
    return "this page is not cross-origin isolated (it needs the headers COOP and COEP)";
  }
  return undefined;
}
