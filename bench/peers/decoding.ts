/**
 * Decoding: one more token, and one query against it and the past. Ours appends to a KV cache and
 * attends to it. onnxruntime-web has `GroupQueryAttention`, in two setups: as models are run with it,
 * and with all that costs beside the operator left out.
 *
 * @module
 */

import { createEngine } from "../../mod.ts";
import { referenceAttention } from "../../src/reference/mod.ts";
import { numbers } from "../numbers.ts";
import { groupQueryAttentionModel, type Held } from "./onnx_model.ts";
import { createSession, type Onnxruntime, type OrtTensor } from "./onnxruntime.ts";
import type { Setup } from "./peer.ts";

/** What is decoded, batch 1. */
export interface DecodingShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly dim: number;
  /** Tokens before the new one. */
  readonly past: number;
}

/** A shape and its numbers. */
export interface DecodingProblem extends DecodingShape {
  /** `[heads, dim]`. */
  readonly q: Float32Array;
  /** The past, `[kvHeads, past, dim]`. */
  readonly pastK: Float32Array;
  readonly pastV: Float32Array;
  /** The new token, `[kvHeads, dim]`. */
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** A step that is ready to be taken again and again, from the same past. */
export interface Step {
  run(): Float32Array | Promise<Float32Array>;
}

/** A way to decode. */
export interface Decoder {
  readonly name: string;
  readonly note: string;
  load(problem: DecodingProblem, setup: Setup): Promise<Step>;
}

/** The numbers of a shape. */
export function decodingProblemOf(shape: DecodingShape): DecodingProblem {
  const { heads, kvHeads, dim, past } = shape;
  return {
    ...shape,
    q: numbers(heads * dim, 1),
    pastK: numbers(kvHeads * past * dim, 2),
    pastV: numbers(kvHeads * past * dim, 3),
    k: numbers(kvHeads * dim, 4),
    v: numbers(kvHeads * dim, 5),
  };
}

/** Largest error that still counts as a right result, as in the other races. */
const tolerance = 1e-4;

/**
 * Largest error against the oracle.
 *
 * @throws {Error} When the result is wrong.
 */
export function checkStep(problem: DecodingProblem, out: Float32Array): number {
  const { heads, kvHeads, dim, past, q, k, v, pastK, pastV } = problem;
  const joined = (before: Float32Array, token: Float32Array) => {
    const all = new Float32Array(before.length + token.length);
    for (let head = 0; head < kvHeads; head++) {
      const at = head * (past + 1) * dim;
      all.set(before.subarray(head * past * dim, (head + 1) * past * dim), at);
      all.set(token.subarray(head * dim, (head + 1) * dim), at + past * dim);
    }
    return { data: all, shape: [kvHeads, past + 1, dim] };
  };
  const query = { data: q, shape: [heads, 1, dim] };
  const exact = referenceAttention(query, joined(pastK, k), joined(pastV, v)).out.data;
  const error = exact.reduce((most, x, at) => Math.max(most, Math.abs(x - out[at])), 0);
  // Written so that NaN counts as wrong.
  if (!(error <= tolerance && out.length === exact.length)) {
    throw new Error(`wrong result: off by ${error}`);
  }
  return error;
}

/** This library. */
export const ours: Decoder = {
  name: "FlashTile",
  note: "append() of the token to a KV cache in f32, attend(), truncate() to the past again",
  async load({ heads, kvHeads, dim, past, q, pastK, pastV, ...token }, { threads }) {
    const engine = await createEngine({ backend: "wasm", threads });
    const cache = engine.kvCache({ kvHeads, headDim: dim });
    const before = [1, kvHeads, past, dim], one = [1, kvHeads, 1, dim];
    cache.append({ data: pastK, shape: before }, { data: pastV, shape: before });
    return {
      async run() {
        cache.append({ data: token.k, shape: one }, { data: token.v, shape: one });
        const { out } = await cache.attend({ data: q, shape: [1, heads, 1, dim] });
        cache.truncate(0, past);
        return out.data;
      },
    };
  },
};

/** Feeds of the operator but for the past. */
function feedsOf(
  { heads, kvHeads, dim, past, q, k, v }: DecodingProblem,
  { Tensor }: Onnxruntime,
): Record<string, OrtTensor> {
  const tensor = (data: Float32Array, count: number) =>
    new Tensor("float32", data, [1, 1, count * dim]);
  return {
    ...{ q: tensor(q, heads), k: tensor(k, kvHeads), v: tensor(v, kvHeads) },
    last: new Tensor("int32", Int32Array.of(past), [1]),
    total: new Tensor("int32", Int32Array.of(past + 1), [1]),
  };
}

/**
 * As models are run: the past goes in as two tensors, the present comes back as two, to be the next
 * step's past. On the CPU onnxruntime-web copies both ways at every step; buffers that the operator
 * could write into in place cannot be bound.
 */
const asModelsRun: Decoder = {
  name: "onnxruntime-web GroupQueryAttention",
  note: "com.microsoft, wasm; past given and present taken as tensors at every step",
  async load(problem, setup) {
    const { heads, kvHeads, dim, past, pastK, pastV } = problem;
    const model = groupQueryAttentionModel(heads, kvHeads);
    const { library, session } = await createSession("onnxruntime-web", setup, model);
    const shape = [1, kvHeads, past, dim];
    const feeds = {
      ...feedsOf(problem, library),
      pastK: new library.Tensor("float32", pastK, shape),
      pastV: new library.Tensor("float32", pastV, shape),
    };
    return { run: async () => (await session.run(feeds)).out.data as Float32Array };
  },
};

/** The operator alone: nothing that is as long as the past crosses between JavaScript and Wasm. */
const operatorAlone: Decoder = {
  name: "the same operator, past held",
  note: "past as constants of the model, present not asked for: cannot decode, shows the operator",
  async load(problem, setup) {
    const { heads, kvHeads, dim, past, pastK, pastV } = problem;
    const shape = [1, kvHeads, past, dim];
    const held: Held[] = [{ name: "pastK", shape }, { name: "pastV", shape }];
    const { library, session } = await createSession(
      "onnxruntime-web",
      setup,
      groupQueryAttentionModel(heads, kvHeads, held),
      {
        externalData: Object.entries({ pastK, pastV })
          .map(([path, numbers]) => ({ path, data: bytesOf(numbers) })),
      },
    );
    const feeds = feedsOf(problem, library);
    return { run: async () => (await session.run(feeds, ["out"])).out.data as Float32Array };
  },
};

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** In the order of the tables; the first is compared with. */
export const decoders: readonly Decoder[] = [ours, asModelsRun, operatorAlone];
