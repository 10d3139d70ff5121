/**
 * Calls by the names of their arguments, so that one of these can be something else.
 *
 * @module
 */

import {
  type AnyTensor,
  type AttentionStream,
  attentionStream,
  blockMask,
  type Engine,
  type EngineTensor,
  logSumExp,
  softmax,
  softmaxWithGradient,
} from "@flashtile/attention";
import {
  createLightweightConvolutionState,
  createLocalGlobalState,
  createPerformerState,
  dynamicConvolution,
  lightweightConvolution,
  lightweightConvolutionWithGradient,
  linformerAttention,
  localGlobalAttention,
  localGlobalAttentionWithGradient,
  performerAttention,
  performerAttentionWithGradient,
} from "@flashtile/attention/linear";
import { count } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { isWhole } from "../support/share.ts";
import type { Outcomes, Place, Written } from "./operations.ts";

/** Arguments and options of a call, by name. */
export type Arguments = Record<string, unknown>;

/** A call. */
export interface Call {
  readonly name: string;
  /** Its tensors: their shapes. */
  readonly tensors: Readonly<Record<string, readonly number[]>>;
  /** Everything else that it is asked. */
  readonly options?: () => Arguments;
  /** Which of its tensors are options, too. */
  readonly asked?: readonly string[];
  /** Runs it, and gives what came out, also of what it wrote to. */
  run(engine: Engine, given: Arguments, options: Arguments): Promise<object>;
}

type Any = never;

const q = [2, 4, 5, 4], k = [2, 2, 7, 4], rows = [2, 4, 5];

/** A cache of these tokens, what attention to it gives, and its bytes. */
async function appended(engine: Engine, keys: unknown, values: unknown, options: Arguments) {
  const cache = engine.kvCache({ batch: 2, kvHeads: 2, headDim: 4, pageSize: 16 });
  try {
    cache.append(keys as Any, values as Any, options as Any);
    const bytes = await cache.save();
    return { bytes: { data: bytes, shape: [bytes.length] } };
  } finally {
    cache.free();
  }
}

/** For whole runs: it reads what other calls read. */
const stepOfCache: Call = {
  name: "cache.step()",
  tensors: { q: [2, 4, 3, 4], k: [2, 2, 3, 4], v: [2, 2, 3, 4] },
  options: () => ({
    ...{ causal: true, lengths: [3, 1], sequences: [2, 0], parents: [-1, 0, 0], scale: 0.5 },
    ...{ lse: true, layout: "bhnd", rope: { theta: 500, dims: 2 } },
  }),
  run: async (engine, { q, k, v }, options) => {
    const cache = engine.kvCache({ batch: 3, kvHeads: 2, headDim: 4, pageSize: 16 });
    try {
      const tokens = { data: normals(3 * 2 * 18 * 4, seeded(3)), shape: [3, 2, 18, 4] };
      cache.append(tokens, tokens, { lengths: [18, 3, 7] });
      return await cache.step(q as Any, k as AnyTensor, v as AnyTensor, options);
    } finally {
      cache.free();
    }
  },
};

/** The calls. */
export const calls: readonly Call[] = [
  {
    name: "attention()",
    tensors: { q, k, v: k, bias: [4, 5, 7], alibi: [4], sinks: [4] },
    asked: ["bias", "alibi", "sinks"],
    options: () => ({
      ...{
        causal: true,
        offset: [2, 3],
        window: [4, 1],
        kvLengths: [6, 7],
        scale: 0.5,
        softcap: 9,
      },
      ...{ lse: true, layout: "bhnd" },
      mask: {
        data: Uint8Array.from({ length: 70 }, (_, at) => Number(at % 3 > 0)),
        shape: [2, 1, 5, 7],
      },
    }),
    run: (engine, { q, k, v }, options) =>
      engine.attention(q as Any, k as AnyTensor, v as Any, options),
  },
  {
    name: "attention() into out",
    tensors: { q, k, v: k, out: q },
    run: async (engine, { q, k, v, out }) => {
      await engine.attention(q as Any, k as AnyTensor, v as Any, { out: out as Any });
      return {};
    },
  },
  {
    name: "attention() of packed sequences",
    tensors: { q: [1, 2, 9, 4], k: [1, 1, 11, 4] },
    options: () => ({
      cuSeqlens: { q: Int32Array.of(0, 2, 6, 9), k: Int32Array.of(0, 5, 6, 11) },
      kvLengths: Int32Array.of(4, 1, 5),
    }),
    run: (engine, { q, k }, options) =>
      engine.attention(q as Any, k as AnyTensor, k as Any, options),
  },
  {
    name: "attention() of lengths that are packed, and of a window of so many keys",
    tensors: { q: [1, 2, 9, 4], k: [1, 1, 9, 4] },
    options: () => ({ packed: Int32Array.of(2, 4, 3), window: 3, causal: true }),
    run: (engine, { q, k }, options) =>
      engine.attention(q as Any, k as AnyTensor, k as Any, options),
  },
  {
    name: "attention() of a block mask",
    tensors: { q, k },
    options: () => ({ blockMask: blockMask.window([3, 1], { queries: 5, keys: 7, block: 2 }) }),
    run: (engine, { q, k }, options) =>
      engine.attention(q as Any, k as AnyTensor, k as Any, options),
  },
  {
    name: "attentionBackward()",
    tensors: { dOut: q, q, k, v: k, out: q, lse: rows, dLse: rows, bias: [4, 5, 7] },
    asked: ["out", "lse", "dLse", "bias"],
    options: () => ({ causal: true, kvLengths: [6, 7], scale: 0.5, softcap: 9 }),
    run: (engine, { dOut, q, k, v }, options) =>
      engine.attentionBackward(dOut as Any, q as Any, k as Any, v as Any, options as Any),
  },
  {
    name: "mergeAttention()",
    tensors: { out: q, lse: rows },
    options: () => ({ layout: "bhnd" }),
    run: (engine, { out, lse }, options) => {
      const other = { out: { data: new Float32Array(160).fill(2), shape: q }, lse: zeros(rows) };
      return engine.mergeAttention([{ out, lse }, other] as Any, options);
    },
  },
  {
    name: "rope()",
    tensors: { q, k: [2, 2, 5, 4] },
    options: () => ({
      ...{ positions: [3, 1, 4, 1, 5], dims: 2, theta: 500, style: "interleaved", layout: "bhnd" },
      scaling: { type: "linear", factor: 2 },
    }),
    run: async (engine, { q, k }, options) => {
      await engine.rope(q as Any, k as Any, options);
      return {};
    },
  },
  {
    name: "cache.append()",
    tensors: { keys: [2, 2, 20, 4], values: [2, 2, 20, 4] },
    options: () => ({ lengths: [20, 7], layout: "bhnd" }),
    run: (engine, { keys, values }, options) => appended(engine, keys, values, options),
  },
  {
    name: "cache.attend()",
    tensors: { q: [1, 4, 3, 4], bias: [3, 18] },
    asked: ["bias"],
    options: () => ({ causal: true, window: [9, 0], offset: [15], scale: 0.5, lse: true }),
    run: async (engine, { q }, options) => {
      const cache = engine.kvCache({ kvHeads: 2, headDim: 4, pageSize: 16 });
      try {
        const tokens = { data: normals(2 * 18 * 4, seeded(3)), shape: [1, 2, 18, 4] };
        cache.append(tokens, tokens);
        return await cache.attend(q as Any, options);
      } finally {
        cache.free();
      }
    },
  },
  ...(isWhole ? [stepOfCache] : []),
  {
    name: "cascadeAttention()",
    tensors: { q, k: [1, 2, 6, 4], v: [2, 2, 3, 4], sinks: [4] },
    asked: ["sinks"],
    options: () => ({ causal: false, scale: 0.5, layout: "bhnd", lse: true }),
    run: (engine, { q, k, v }, options) =>
      engine.cascadeAttention(q as Any, { k, v: k } as Any, { k: v, v } as Any, options),
  },
  {
    name: "softmax()",
    tensors: { x: [2, 4, 5, 3, 4] },
    options: () => ({
      ...{ axis: 2, scale: 0.5 },
      mask: {
        data: Uint8Array.from({ length: 60 }, (_, at) => Number(at % 3 > 0)),
        shape: [5, 3, 4],
      },
    }),
    run: (engine, { x }, options) => softmax(x as AnyTensor, { ...options, engine }),
  },
  {
    name: "logSumExp() into out",
    tensors: { x: [3, 5, 7], out: [3, 7] },
    asked: ["out"],
    options: () => ({ axis: 1 }),
    run: async (_engine, { x }, options) => {
      await logSumExp(x as AnyTensor, options);
      return {};
    },
  },
  {
    name: "backward() of softmaxWithGradient()",
    tensors: { x: [3, 5, 7], dOut: [3, 5, 7] },
    options: () => ({}),
    run: async (engine, { x, dOut }, options) => {
      const { backward } = await softmaxWithGradient(x as Any, { engine });
      return await backward(dOut as Any, options);
    },
  },
  {
    name: "attentionStream()",
    tensors: { q, k, v: k, alibi: [4], sinks: [4] },
    asked: ["alibi", "sinks"],
    options: () => ({
      ...{ causal: true, offset: [2, 3], window: [4, 1], scale: 0.5, softcap: 9, layout: "bhnd" },
    }),
    run: async (engine, { q, k, v }, options) => {
      options.engine = engine;
      const stream = attentionStream(q as Any, options as Any) as AttentionStream<object>;
      stream.push(k as Any, v as Any);
      return await stream.finish();
    },
  },
  {
    name: "performerAttention()",
    tensors: { q, k, v: k, projection: [2, 8, 4] },
    asked: ["projection"],
    options: () => ({ kernel: "softmax", scale: 0.5, layout: "bhnd", causal: false }),
    run: (engine, { q, k, v }, options) =>
      performerAttention(q as AnyTensor, k as AnyTensor, v as AnyTensor, { ...options, engine }),
  },
  {
    name: "performerAttention() into out",
    tensors: { q: k, k, v: k, out: k },
    asked: ["out"],
    options: () => ({ features: 8, seed: 3, causal: true }),
    run: async (_engine, { q, k, v }, options) => {
      await performerAttention(q as AnyTensor, k as AnyTensor, v as AnyTensor, options);
      return {};
    },
  },
  {
    name: "backward() of performerAttentionWithGradient()",
    tensors: { q, k, v: k, dOut: q },
    options: () => ({}),
    run: async (engine, { q, k, v, dOut }, options) => {
      const given = [q as Any, k as Any, v as Any, { engine, features: 8 }] as const;
      const { backward } = await performerAttentionWithGradient(...given);
      return await backward(dOut as Any, options);
    },
  },
  {
    name: "step() of a performer's state",
    tensors: { q: k, k, v: k, out: k },
    asked: ["out"],
    options: () => ({}),
    run: async (engine, { q, k, v }, options) => {
      const state = createPerformerState({ engine, features: 8 });
      try {
        await state.step(q as AnyTensor, k as AnyTensor, v as AnyTensor, options);
        return {};
      } finally {
        state.close();
      }
    },
  },
  {
    name: "lightweightConvolution()",
    tensors: { v: [2, 3, 9, 4], weights: [3, 4] },
    options: () => ({ causal: true, layout: "bhnd" }),
    run: (engine, { v, weights }, options) =>
      lightweightConvolution(v as AnyTensor, weights as AnyTensor, { ...options, engine }),
  },
  {
    name: "dynamicConvolution() into out",
    tensors: { v: [9, 4], weights: [9, 3], out: [9, 4] },
    asked: ["out"],
    options: () => ({ causal: false }),
    run: async (_engine, { v, weights }, options) => {
      await dynamicConvolution(v as AnyTensor, weights as AnyTensor, options);
      return {};
    },
  },
  {
    name: "backward() of lightweightConvolutionWithGradient()",
    tensors: { v: [3, 9, 4], weights: [3, 3], dOut: [3, 9, 4] },
    options: () => ({}),
    run: async (engine, { v, weights, dOut }, options) => {
      const given = [v as Any, weights as Any, { engine }] as const;
      const { backward } = await lightweightConvolutionWithGradient(...given);
      return await backward(dOut as Any, options);
    },
  },
  {
    name: "step() of a convolution",
    tensors: { v: [3, 9, 4], weights: [3, 6] },
    options: () => ({}),
    run: async (engine, { v, weights }, options) => {
      const state = createLightweightConvolutionState(weights as AnyTensor, { engine });
      try {
        await state.step({ data: normals(24, seeded(3)), shape: [3, 2, 4] });
        return await state.step(v as AnyTensor, options);
      } finally {
        state.close();
      }
    },
  },
  {
    name: "linformerAttention()",
    tensors: { q, k, v: k, projectK: [2, 3, 9], projectV: [3, 7] },
    asked: ["projectK", "projectV"],
    options: () => ({ scale: 0.5, lse: true, layout: "bhnd" }),
    run: async (engine, { q, k, v }, options) => {
      options.engine = engine;
      return await linformerAttention(q as Any, k as Any, v as Any, options as Any);
    },
  },
  {
    name: "localGlobalAttention()",
    tensors: { q: [2, 4, 7, 4], k, v: k, pool: [2, 3] },
    asked: ["pool"],
    options: () => ({ block: 3, causal: true, scale: 0.5, lse: true, layout: "bhnd" }),
    run: async (engine, { q, k, v }, options) => {
      options.engine = engine;
      return await localGlobalAttention(q as Any, k as Any, v as Any, options as Any);
    },
  },
  {
    name: "backward() of localGlobalAttentionWithGradient()",
    tensors: { q: [2, 4, 7, 4], k, v: k, dOut: [2, 4, 7, 4] },
    options: () => ({}),
    run: async (engine, { q, k, v, dOut }, options) => {
      const asked = { block: 3, engine };
      const { backward } = await localGlobalAttentionWithGradient(
        q as Any,
        k as Any,
        v as Any,
        asked,
      );
      return await backward(dOut as Any, options);
    },
  },
  {
    name: "step()",
    tensors: { q: [2, 4, 7, 4], k, v: k },
    options: () => ({ lse: true }),
    run: async (engine, { q, k, v }, options) => {
      const state = createLocalGlobalState({ block: 3, engine });
      try {
        return await state.step(q as Any, k as Any, v as Any, options as Any);
      } finally {
        state.close();
      }
    },
  },
];

function zeros(shape: readonly number[]) {
  return { data: new Float32Array(count(shape)), shape };
}

/** Inputs of a call, and where they are. */
export interface Honest {
  readonly given: Record<string, Written>;
  /** Those in the engine's memory. */
  readonly own: readonly EngineTensor[];
  readonly options: Arguments;
  /** The arrays as they were made. */
  elements(): Outcomes;
}

/** Makes the inputs of a call: the same numbers each time. */
export function honestly(call: Call, place: Place, engine: Engine): Honest {
  const own: EngineTensor[] = [], given: Record<string, Written> = {};
  const arrays: Record<string, () => Float32Array> = {};
  for (const [at, [name, shape]] of Object.entries(call.tensors).entries()) {
    const numbers = normals(count(shape), seeded(at + 50));
    // Slopes and sinks are small and copied: they are in arrays always.
    if (place === "arrays" || shape.length === 1) {
      given[name] = { data: numbers, shape: [...shape] };
      arrays[name] = () => numbers;
      continue;
    }
    const tensor = engine.tensor(shape), { data } = tensor;
    data.set(numbers);
    own.push(tensor);
    arrays[name] = () => tensor.data;
    given[name] = { data, shape: [...shape] };
  }
  const options = { ...call.options?.() };
  for (const name of call.asked ?? []) options[name] = given[name];
  return {
    ...{ given, own, options },
    elements: () => {
      const all = Object.entries(arrays);
      return Object.fromEntries(all.map(([name, read]) => [name, { elements: [...read()] }]));
    },
  };
}
