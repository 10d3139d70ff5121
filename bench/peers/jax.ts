/**
 * jax-js on its Wasm backend.
 *
 * @module
 */

import { oneThread, type Peer, type Setup, withWorker } from "./peer.ts";
import { headsLast } from "./problem.ts";

/** The part of jax-js's interface that is used here. */
interface Jax {
  init(device: "wasm"): Promise<readonly string[]>;
  defaultDevice(device: "wasm"): void;
  /** The gradient of a sum by some of a function's arguments. */
  grad(
    f: (...inputs: JaxArray[]) => JaxArray,
    options: { readonly argnums: readonly number[] },
  ): (...inputs: JaxArray[]) => JaxArray[];
  readonly numpy: { array(data: Float32Array): JaxArray };
  readonly nn: {
    dotProductAttention(
      q: JaxArray,
      k: JaxArray,
      v: JaxArray,
      options: { readonly isCausal: boolean },
    ): JaxArray;
  };
}

interface JaxArray {
  reshape(shape: readonly number[]): JaxArray;
  mul(other: JaxArray): JaxArray;
  sum(): JaxArray;
  /** Reads the numbers; this and every operation uses the array up. */
  data(): Promise<Float32Array>;
}

/** The runtime's own class, before another library replaces it. */
const ownWorker = globalThis.Worker;

/**
 * The global `Worker` that jax-js is to see. It takes as many threads as `navigator` names, and
 * without a `Worker` it is at its fastest on one; it has none at all under Node.
 */
function workerFor({ threads }: Setup): unknown {
  if (threads === 1) return undefined;
  if (ownWorker === undefined) oneThread(threads, "it needs a global Worker, which is not here");
  Object.defineProperty(navigator, "hardwareConcurrency", { value: threads, configurable: true });
  return ownWorker;
}

/** Loads it on its Wasm backend; calls of it are made `inside`. */
export async function jaxOf(setup: Setup) {
  const worker = workerFor(setup);
  const inside = <T>(action: () => Promise<T>) => withWorker(worker, action);
  const library = await inside(async () => {
    const jax = setup.require("@jax-js/jax") as Jax;
    await jax.init("wasm");
    return jax;
  });
  library.defaultDevice("wasm");
  return { library, inside };
}

/** `nn.dotProductAttention`, not under `jit()`: that was slower when it was tried. */
export const jax: Peer = {
  name: "jax-js",
  package: "@jax-js/jax",
  note: "nn.dotProductAttention on its wasm backend, inputs given as [B, N, H, D]",
  async load({ heads, queries, keys, dim, causal, q, k, v }, setup) {
    const { library: { numpy, nn }, inside } = await jaxOf(setup);
    const [Q, K, V] = [q, k, v].map((data) => headsLast(data, heads, dim));
    const make = (data: Float32Array, length: number) =>
      numpy.array(data).reshape([1, length, heads, dim]);
    const attend = () =>
      nn.dotProductAttention(make(Q, queries), make(K, keys), make(V, keys), { isCausal: causal })
        .data();
    return { layout: "heads last", run: () => inside(attend), dispose: () => {} };
  },
};
