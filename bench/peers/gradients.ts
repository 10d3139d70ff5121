/**
 * Training steps: attention forward and its gradients with respect to q, k and v, for a given gradient with respect to the result.
 * Peers that differentiate by themselves do so through attention composed of their own operations.
 *
 * @module
 */

import { createEngine } from "../../mod.ts";
import { referenceAttentionBackward } from "../../src/reference/mod.ts";
import { numbers } from "../numbers.ts";
import { jaxOf } from "./jax.ts";
import type { Setup } from "./peer.ts";
import { headsLast, type Problem, problemOf, type Shape } from "./problem.ts";
import { causalMask, loadTensorflow, type TfTensor } from "./tfjs.ts";

/** A shape's numbers, and the gradient with respect to the result, `[heads, queries, dim]`. */
export interface GradientProblem extends Problem {
  readonly dOut: Float32Array;
}

/** Gradients, each as what it is by lies: heads first. */
type Gradients = readonly [dq: Float32Array, dk: Float32Array, dv: Float32Array];

/** A way to train. */
export interface Trainer {
  readonly name: string;
  readonly note: string;
  load(problem: GradientProblem, setup: Setup): Promise<{ run(): Promise<Float32Array> }>;
}

/** The numbers of a shape. */
export function gradientProblemOf(shape: Shape): GradientProblem {
  return { ...problemOf(shape), dOut: numbers(shape.heads * shape.queries * shape.dim, 4) };
}

/** Largest error that still counts as right, of gradients that are some 1 in size. */
const tolerance = 1e-4;

/** Scores up to which all is compared with the oracle, which needs a second for 4 million. */
const mostCompared = 2 ** 24;

/**
 * Largest error against the oracle; of long problems of the first head alone.
 *
 * @throws {Error} When the result is wrong.
 */
export function checkGradients(problem: GradientProblem, all: Float32Array): number {
  const { heads, queries, keys, dim, causal } = problem;
  const compared = heads * queries * keys > mostCompared ? 1 : heads;
  const tensor = (data: Float32Array, rows: number) => ({
    data: data.subarray(0, compared * rows * dim),
    shape: [compared, rows, dim],
  });
  const { q, k, v, dOut } = problem;
  const exact = referenceAttentionBackward(
    ...[tensor(dOut, queries), tensor(q, queries), tensor(k, keys), tensor(v, keys)] as const,
    { causal },
  );
  let error = 0, from = 0;
  for (
    const [gradient, rows] of [[exact.dq, queries], [exact.dk, keys], [exact.dv, keys]] as const
  ) {
    gradient.data.forEach((x, at) => {
      const off = Math.abs(x - all[from + at]);
      // Written so that NaN counts as wrong.
      if (!(off <= tolerance)) throw new Error(`wrong result: off by ${off}`);
      error = Math.max(error, off);
    });
    from += heads * rows * dim;
  }
  return error;
}

function joined([dq, dk, dv]: Gradients): Float32Array {
  const all = new Float32Array(dq.length + dk.length + dv.length);
  all.set(dq);
  all.set(dk, dq.length);
  all.set(dv, dq.length + dk.length);
  return all;
}

/** This library. */
const flashtile: Trainer = {
  name: "FlashTile",
  note: "attentionWithGradient() and backward(); inputs are copied into its memory",
  async load({ heads, queries, keys, dim, causal, ...data }, { threads }) {
    const engine = await createEngine({ backend: "wasm", threads });
    const q = { data: data.q, shape: [heads, queries, dim] };
    const k = { data: data.k, shape: [heads, keys, dim] };
    const v = { data: data.v, shape: [heads, keys, dim] };
    const dOut = { data: data.dOut, shape: q.shape };
    return {
      async run() {
        const { backward } = await engine.attentionWithGradient(q, k, v, { causal });
        const { dq, dk, dv } = await backward(dOut);
        return joined([dq.data, dk.data, dv.data]);
      },
    };
  },
};

/** TensorFlow.js: the gradient of the sum of `out * dOut`. */
const tfjs: Trainer = {
  name: "tfjs",
  note: "grads() of matMul, softmax, matMul on its wasm backend",
  async load({ heads, queries, keys, dim, causal, ...data }, setup) {
    const tf = await loadTensorflow(setup);
    setup.require("@tensorflow/tfjs"); // Which knows the gradients; the core alone has none.
    const mask = causal ? tf.tensor(causalMask(queries, keys), [queries, keys]) : undefined;
    const attend = (q: TfTensor, k: TfTensor, v: TfTensor) => {
      const scores = tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(dim));
      return tf.matMul(tf.softmax(mask ? tf.add(scores, mask) : scores), v);
    };
    const gradient = tf.grads(attend);
    return {
      async run() {
        const inputs = [
          tf.tensor(data.q, [heads, queries, dim]),
          tf.tensor(data.k, [heads, keys, dim]),
          tf.tensor(data.v, [heads, keys, dim]),
        ];
        const dOut = tf.tensor(data.dOut, [heads, queries, dim]);
        const gradients = gradient(inputs, dOut);
        const read = await Promise.all(gradients.map((one) => one.data()));
        for (const one of [...inputs, dOut, ...gradients]) one.dispose();
        return joined(read as unknown as Gradients);
      },
    };
  },
};

/** `[N, heads, dim]` as `[heads, N, dim]`. */
function headsFirst(data: Float32Array, heads: number, dim: number): Float32Array {
  // The same exchange of the two axes, the other way.
  return headsLast(data, data.length / (heads * dim), dim);
}

/** jax-js: the gradient of the sum of `out * dOut`. */
const jax: Trainer = {
  name: "jax-js",
  note: "grad() of nn.dotProductAttention on its wasm backend",
  async load({ heads, queries, keys, dim, causal, ...data }, setup) {
    const { library: { grad, nn, numpy }, inside } = await jaxOf(setup);
    const [Q, K, V, W] = [data.q, data.k, data.v, data.dOut].map((one) =>
      headsLast(one, heads, dim)
    );
    const make = (data: Float32Array, length: number) =>
      numpy.array(data).reshape([1, length, heads, dim]);
    const gradient = grad(
      (q, k, v, dOut) => nn.dotProductAttention(q, k, v, { isCausal: causal }).mul(dOut).sum(),
      {
        argnums: [0, 1, 2],
      },
    );
    return {
      run: () =>
        inside(async () => {
          const inputs = [
            make(Q, queries),
            make(K, keys),
            make(V, keys),
            make(W, queries),
          ] as const;
          const gradients = await Promise.all(gradient(...inputs).map((one) => one.data()));
          return joined(
            gradients.map((one) => headsFirst(one, heads, dim)) as unknown as Gradients,
          );
        }),
    };
  },
};

/** In the order of the tables; the first is compared with. */
export const trainers: readonly Trainer[] = [flashtile, tfjs, jax];
