/**
 * TensorFlow.js on its Wasm backend. It has no attention operator: one writes matMul, softmax,
 * matMul.
 *
 * @module
 */

import { dirname } from "node:path";
import { oneThread, type Peer, type Setup } from "./peer.ts";

/** The part of TensorFlow.js's interface that is used here. */
export interface Tensorflow {
  setBackend(name: "wasm"): Promise<boolean>;
  env(): { getAsync(flag: "WASM_HAS_MULTITHREAD_SUPPORT"): Promise<boolean> };
  tidy(compute: () => TfTensor): TfTensor;
  tensor(data: Float32Array, shape: readonly number[]): TfTensor;
  matMul(a: TfTensor, b: TfTensor, transposeA?: boolean, transposeB?: boolean): TfTensor;
  mul(a: TfTensor, b: number): TfTensor;
  add(a: TfTensor, b: TfTensor): TfTensor;
  softmax(scores: TfTensor): TfTensor;
  /** Gradients with respect to the arguments, from that with respect to the result. */
  grads(
    f: (...inputs: TfTensor[]) => TfTensor,
  ): (inputs: readonly TfTensor[], dOut: TfTensor) => TfTensor[];
}

/** A tensor of the library's own. */
export interface TfTensor {
  data(): Promise<Float32Array>;
  dispose(): void;
}

interface WasmBackend {
  setWasmPaths(folder: string): void;
  setThreadsCount(threads: number): void;
}

const backendPackage = "@tensorflow/tfjs-backend-wasm";

/** Loads it on its Wasm backend. */
export async function loadTensorflow({ threads, require, resolve }: Setup): Promise<Tensorflow> {
  const tf = require("@tensorflow/tfjs-core") as Tensorflow;
  const backend = require(backendPackage) as WasmBackend;
  backend.setThreadsCount(threads);
  backend.setWasmPaths(dirname(resolve(backendPackage)) + "/");
  if (!await tf.setBackend("wasm")) {
    throw new Error("its wasm backend does not start");
  }
  if (!await tf.env().getAsync("WASM_HAS_MULTITHREAD_SUPPORT")) {
    oneThread(threads, "it leaves its threads off outside of browsers");
  }
  return tf;
}

/** 0 where a key is seen, `-Infinity` where it is not. */
export function causalMask(queries: number, keys: number): Float32Array {
  return Float32Array.from({ length: queries * keys }, (_, index) => {
    const row = Math.floor(index / keys);
    return index % keys <= row + keys - queries ? 0 : -Infinity;
  });
}

/** The plain formula in operators. */
export const tfjs: Peer = {
  name: "tfjs",
  package: backendPackage,
  note: "matMul, softmax, matMul on its wasm backend; a causal mask is added to the scores",
  async load({ heads, queries, keys, dim, causal, q, k, v }, setup) {
    const tf = await loadTensorflow(setup);
    const mask = causal ? tf.tensor(causalMask(queries, keys), [queries, keys]) : undefined;
    const attend = () => {
      const Q = tf.tensor(q, [heads, queries, dim]);
      const K = tf.tensor(k, [heads, keys, dim]);
      const V = tf.tensor(v, [heads, keys, dim]);
      const scores = tf.mul(tf.matMul(Q, K, false, true), 1 / Math.sqrt(dim));
      return tf.matMul(tf.softmax(mask ? tf.add(scores, mask) : scores), V);
    };
    return {
      layout: "heads first",
      async run() {
        const out = tf.tidy(attend);
        const numbers = await out.data();
        out.dispose();
        return numbers;
      },
      dispose: () => mask?.dispose(),
    };
  },
};
