/**
 * onnxruntime, in Wasm and native, with both of its attention operators.
 *
 * @module
 */

import { attentionModel, multiHeadAttentionModel } from "./onnx_model.ts";
import { type Peer, type Setup, withWorker } from "./peer.ts";
import { headsLast, type Problem } from "./problem.ts";

/** The part of onnxruntime's interface that is used here. */
export interface Onnxruntime {
  readonly env: { readonly wasm: { numThreads?: number } };
  readonly InferenceSession: {
    create(model: Uint8Array, options: Record<string, unknown>): Promise<Session>;
  };
  readonly Tensor: {
    new (type: "float32", data: Float32Array, shape: readonly number[]): OrtTensor;
    new (type: "int32", data: Int32Array, shape: readonly number[]): OrtTensor;
  };
}

/** A tensor on the CPU. */
export interface OrtTensor {
  readonly data: Float32Array | Int32Array;
}

interface Session {
  /** `outputs` names those that are wanted; all by default. */
  run(
    inputs: Record<string, OrtTensor>,
    outputs?: readonly string[],
  ): Promise<{ readonly out: OrtTensor }>;
  release(): Promise<void>;
}

type Operator = "Attention" | "MultiHeadAttention";

type Build = "onnxruntime-web" | "onnxruntime-node";

/** Makes a session; its threads are fixed here. */
export async function createSession(
  build: Build,
  setup: Setup,
  model: Uint8Array,
  more: Record<string, unknown> = {},
) {
  const library = setup.require(build) as Onnxruntime;
  if (build === "onnxruntime-node") {
    const options = { intraOpNumThreads: setup.threads, interOpNumThreads: 1, ...more };
    return { library, session: await library.InferenceSession.create(model, options) };
  }
  library.env.wasm.numThreads = setup.threads;
  const options = { executionProviders: ["wasm"], ...more };
  const create = () => library.InferenceSession.create(model, options);
  return { library, session: await withWorker(globalThis.Worker, create) };
}

/** Model, shapes and numbers in the layout that the operator takes. */
function modelOf(operator: Operator, problem: Problem) {
  const { heads, queries, keys, dim, causal, q, k, v } = problem;
  if (operator === "Attention") {
    const shapes = [[1, heads, queries, dim], [1, heads, keys, dim]];
    return { model: attentionModel(causal), shapes, data: [q, k, v] };
  }
  return {
    model: multiHeadAttentionModel(heads, causal),
    shapes: [[1, queries, heads * dim], [1, keys, heads * dim]],
    data: [q, k, v].map((data) => headsLast(data, heads, dim)),
  };
}

function onnxruntime(build: Build, operator: Operator, name: string, note: string): Peer {
  return {
    name,
    package: build,
    note,
    async load(problem, setup) {
      const { model, shapes: [query, key], data: [q, k, v] } = modelOf(operator, problem);
      const { library: { Tensor }, session } = await createSession(build, setup, model);
      return {
        layout: operator === "Attention" ? "heads first" : "heads last",
        async run() {
          const { out } = await session.run({
            q: new Tensor("float32", q, query),
            k: new Tensor("float32", k, key),
            v: new Tensor("float32", v, key),
          });
          return out.data as Float32Array;
        },
        dispose: () => session.release(),
      };
    },
  };
}

/** The standard's operator in Wasm. */
export const webAttention: Peer = onnxruntime(
  "onnxruntime-web",
  "Attention",
  "onnxruntime-web Attention",
  "opset 23, execution provider wasm",
);

/** onnxruntime's own operator in Wasm. */
export const webMultiHeadAttention: Peer = onnxruntime(
  "onnxruntime-web",
  "MultiHeadAttention",
  "onnxruntime-web MultiHeadAttention",
  "com.microsoft, execution provider wasm, inputs given as [B, N, H * D]",
);

/** What native code does with the same machine. */
export const nativeAttention: Peer = onnxruntime(
  "onnxruntime-node",
  "Attention",
  "onnxruntime-node",
  "Attention in native code with the machine's widest vectors: a ceiling, not a rival in a browser",
);
