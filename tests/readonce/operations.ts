/**
 * Every operation that gives a promise, as something that can be started with inputs of its own:
 * same seed, same numbers, wherever they are.
 *
 * @module
 */

import {
  type AnyTensor,
  attention,
  attentionBackward,
  attentionStream,
  attentionWithGradient,
  blockMask,
  type Engine,
  type EngineTensor,
  type HostTensor,
  type KvCache,
  logSoftmax,
  logSoftmaxWithGradient,
  logSumExp,
  mergeAttention,
  softmax,
  softmaxWithGradient,
  type Tensor,
} from "@flashtile/attention";
import {
  createDynamicConvolutionState,
  createLocalGlobalState,
  createPerformerState,
  dynamicConvolution,
  lightweightConvolution,
  lightweightConvolutionWithGradient,
  linformerAttention,
  linformerAttentionWithGradient,
  localGlobalAttention,
  localGlobalAttentionWithGradient,
  performerAttention,
  performerAttentionWithGradient,
} from "@flashtile/attention/linear";
import {
  embedding,
  gated,
  layerNorm,
  layerNormWithGradient,
  linear,
  linearWithGradient,
  type PackedLinear,
  packLinear,
} from "@flashtile/attention/nn";
import type { Feature } from "../contract/backends.ts";
import { once } from "../support/once.ts";
import { count } from "../support/problem.ts";
import { normals, type Random, seeded } from "../support/random.ts";
import { isWhole } from "../support/share.ts";

/** Where inputs are: in arrays of the caller's, or in the engine's memory. */
export type Place = "arrays" | "engine memory";

/** A tensor as callers write it, before anybody has looked at it. */
export interface Written {
  data: Float32Array | Uint16Array | Uint8Array | Uint32Array;
  shape: number[];
  strides?: number[];
  offset?: number;
  dtype?: string;
}

/** Options as callers write them. */
export type WrittenOptions = Record<string, unknown>;

/** A result: its shape, and its elements, or nothing where its tensor was freed. */
export interface Outcome {
  readonly shape?: readonly number[];
  readonly elements?: ArrayLike<number>;
}

/** What a call gave, by name. */
export type Outcomes = Readonly<Record<string, Outcome>>;

/** All that was passed to a call. */
export interface Passed {
  readonly options: readonly WrittenOptions[];
  readonly tensors: readonly Written[];
  /** Of `tensors`, those in the engine's memory. */
  readonly own: readonly EngineTensor[];
  readonly caches: readonly KvCache[];
  readonly controller: AbortController;
}

/** A call that runs. */
export interface Started extends Passed {
  readonly result: Promise<Outcomes>;
}

/** What an operation's inputs are made of. */
export interface Setting {
  readonly engine: Engine;
  readonly place: Place;
  readonly seed: number;
  /** Progress of calls that tell theirs. */
  readonly onProgress?: (passed: Passed) => void;
}

/** An operation: made ready, and then started. */
export interface Operation {
  readonly name: string;
  /** Caches that it has, where it has some. */
  readonly readsCaches?: boolean;
  /** Runs on the engine of the bare functions. */
  readonly bare?: boolean;
  /** Needs a call that blocks. */
  readonly sync?: boolean;
  /** Large enough to be cut: not for every moment of every act. */
  readonly large?: boolean;
  /** Needs an engine that has done nothing yet. */
  readonly fresh?: boolean;
  /** Tells its progress. */
  readonly tells?: boolean;
  /** What the backend must have. */
  readonly needs?: Feature;
  ready(setting: Setting): Promise<() => Started>;
}

/** Makes inputs, and remembers them. */
class Inputs implements Passed {
  readonly #setting: Setting;
  readonly #random: Random;
  /** Arrays of tensors in the engine's memory, by the tensor's place in `tensors`. */
  readonly #data = new Map<number, () => Float32Array>();
  readonly tensors: Written[] = [];
  readonly own: EngineTensor[] = [];
  readonly caches: KvCache[] = [];
  readonly options: WrittenOptions[] = [];
  readonly controller = new AbortController();

  constructor(setting: Setting) {
    this.#setting = setting;
    this.#random = seeded(setting.seed);
  }

  /** A tensor of normally distributed numbers. */
  tensor(shape: readonly number[], spread = 1): AnyTensor {
    return this.of(normals(count(shape), this.#random, spread), shape);
  }

  /** A tensor of such numbers. */
  of(numbers: ArrayLike<number>, shape: readonly number[]): AnyTensor {
    const made = this.#setting.place === "arrays"
      ? this.#inArray(numbers, shape)
      : this.#inMemory(numbers, shape);
    this.tensors.push(made);
    return made as unknown as AnyTensor;
  }

  /** Strided, in every second case, behind numbers that nobody should read. */
  #inArray(numbers: ArrayLike<number>, shape: readonly number[]): Written {
    if (this.tensors.length % 2 === 0) {
      return { data: Float32Array.from(numbers), shape: [...shape] };
    }
    const offset = 3, data = new Float32Array(numbers.length + offset).fill(NaN);
    data.set(numbers, offset);
    return { data, shape: [...shape], strides: stridesOf(shape), offset, dtype: "f32" };
  }

  /** The engine's tensor itself, and in every second case a view of its array. */
  #inMemory(numbers: ArrayLike<number>, shape: readonly number[]): Written {
    const made = this.#setting.engine.tensor([...shape]);
    made.data.set(numbers);
    this.own.push(made);
    const index = this.tensors.length;
    // Its getter as it was made: acts put other values in its place.
    const getter = Object.getOwnPropertyDescriptor(made, "data")?.get;
    this.#data.set(index, () => getter === undefined ? made.data : getter.call(made));
    if (this.tensors.length % 2 === 0) return made as unknown as Written;
    return { data: made.data, shape: [...shape], strides: stridesOf(shape), offset: 0 };
  }

  /** The array of a tensor that was made, also after memory has grown. */
  dataOf(tensor: AnyTensor): () => Float32Array {
    const { data } = tensor;
    const inMemory = this.#data.get(this.tensors.indexOf(tensor as unknown as Written));
    return inMemory ?? (() => data as Float32Array);
  }

  /** A tensor of booleans in an array. */
  mask(shape: readonly number[]): unknown {
    const data = Uint8Array.from({ length: count(shape) }, () => Number(this.#random() < 0.8));
    const made: Written = { data, shape: [...shape] };
    this.tensors.push(made);
    return made;
  }

  /** A tensor of numbers in an array, wherever the others are. */
  numbers(numbers: readonly number[]): unknown {
    const made: Written = { data: Float32Array.from(numbers), shape: [numbers.length] };
    this.tensors.push(made);
    return made;
  }

  /** A cache of `lengths` tokens. */
  cache(lengths: readonly number[], given: object = {}): KvCache {
    const { engine } = this.#setting, batch = lengths.length, most = Math.max(...lengths);
    const cache = engine.kvCache({ batch, kvHeads: 1, headDim: 4, pageSize: 16, ...given });
    const rows = () => ({
      data: normals(batch * most * 4, this.#random),
      shape: [batch, 1, most, 4],
    });
    cache.append(rows(), rows(), { lengths });
    this.caches.push(cache);
    return cache;
  }

  /** Options, and with them what every call can be told. */
  asked(options: WrittenOptions = {}): WrittenOptions {
    const { onProgress } = this.#setting;
    const told = onProgress && { onProgress: () => onProgress(this) };
    const all = { ...options, signal: this.controller.signal, ...told };
    this.options.push(all);
    return all;
  }

  /** Options of what has no signal. */
  plain(options: WrittenOptions = {}): WrittenOptions {
    this.options.push(options);
    return options;
  }

  started(result: Promise<object | void>, more: () => Outcomes = () => ({})): Started {
    const { tensors, own, caches, options, controller } = this;
    const all = result.then((value) => ({ ...outcomesOf(value ?? {}), ...more() }));
    return { result: all, tensors, own, caches, options, controller };
  }
}

function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, axis) => count(shape.slice(axis + 1)));
}

/** The results of a call; those that are no tensors are left out. */
function outcomesOf(result: object): Outcomes {
  const found = Object.entries(result).filter(([, value]) => typeof value === "object");
  return Object.fromEntries(found.map(([name, { data, shape }]) => {
    return [name, { shape: [...shape], elements: Array.from(data as ArrayLike<number>) }];
  }));
}

/** Elements of a tensor that a call writes to, as the caller knows it, whatever becomes of the object. */
function elementsOf(inputs: Inputs, tensor: AnyTensor): () => Outcome {
  const size = count(tensor.shape), { offset = 0 } = tensor, data = inputs.dataOf(tensor);
  return () => {
    try {
      return { elements: Array.from(data().subarray(offset, offset + size)) };
    } catch {
      return {}; // It was freed meanwhile.
    }
  };
}

/** An operation that needs nothing before it starts. */
function operation(
  name: string,
  start: (inputs: Inputs, engine: Engine) => Started,
  more: Partial<Operation> = {},
): Operation {
  return {
    name,
    ready: (setting) => Promise.resolve(() => start(new Inputs(setting), setting.engine)),
    ...more,
  };
}

/** The shape of most calls: two batches, four query heads to two of keys, five rows to seven keys. */
const [B, H, K, N, M, D] = [2, 4, 2, 5, 7, 4];

function three(inputs: Inputs): [AnyTensor, AnyTensor, AnyTensor] {
  return [
    inputs.tensor([B, H, N, D]),
    inputs.tensor([B, K, M, D]),
    inputs.tensor([B, K, M, D]),
  ];
}

/** Keys of calls that are cut into waves: so many that they are drawn once. */
const manyKeys = once(() => normals(4 * 1100 * 64, seeded(6)));

function inWaves(inputs: Inputs): [q: AnyTensor, k: AnyTensor] {
  return [inputs.tensor([1, 4, 2, 64]), inputs.of(manyKeys(), [1, 4, 1100, 64])];
}

/** Options that divide a call, and those that change its scores. */
function everything(inputs: Inputs): WrittenOptions {
  return {
    ...{ causal: true, offset: [2, 3], window: [4, 1], kvLengths: [6, 7], scale: 0.4 },
    ...{ lse: true, softcap: 20, sinks: inputs.numbers([0.1, -1, 2, 0]) },
    ...{ alibi: inputs.numbers([0.5, 0.25, 0.125, 0.0625]), mask: inputs.mask([B, 1, N, M]) },
    bias: inputs.tensor([H, N, M]),
  };
}

type Asked = never;

const attentions: readonly Operation[] = [
  operation("attention()", (inputs, engine) => {
    const [q, k, v] = three(inputs);
    const asked = inputs.asked(everything(inputs));
    return inputs.started(engine.attention(q, k, v, asked as Asked));
  }),
  operation("attention() without options", (inputs, engine) => {
    const [q, k, v] = three(inputs);
    return inputs.started(engine.attention(q, k, v));
  }),
  operation("attention() of a layout", (inputs, engine) => {
    const q = inputs.tensor([B, N, H, D]), k = inputs.tensor([B, M, K, D]);
    const asked = inputs.asked({ layout: "bnhd", lse: true, causal: "top-left" });
    return inputs.started(engine.attention(q, k, k, asked as Asked));
  }),
  operation("attention() of packed sequences", (inputs, engine) => {
    const q = inputs.tensor([1, H, 9, D]), k = inputs.tensor([1, K, 11, D]);
    const cuSeqlens = { q: Int32Array.of(0, 2, 6, 9), k: Int32Array.of(0, 5, 6, 11) };
    const options = { cuSeqlens, kvLengths: Int32Array.of(4, 1, 5), causal: true, lse: true };
    return inputs.started(engine.attention(q, k, k, inputs.asked(options) as Asked));
  }),
  operation("attention() of a block mask", (inputs, engine) => {
    const [q, k, v] = three(inputs), size = { queries: N, keys: M, block: 2 };
    const mask = blockMask.window([3, 1], size);
    return inputs.started(engine.attention(q, k, v, inputs.asked({ blockMask: mask }) as Asked));
  }),
  operation("attention() into a tensor", (inputs, engine) => {
    const [q, k, v] = three(inputs), out = inputs.tensor([B, H, N, D]);
    const wrote = elementsOf(inputs, out), asked = inputs.asked({ out, lse: true });
    const call = engine.attention(q, k, v, asked as Asked) as Promise<{ lse: AnyTensor }>;
    return inputs.started(call.then(({ lse }) => ({ lse })), () => ({ wrote: wrote() }));
  }),
  operation("attention() in place", (inputs, engine) => {
    const [q, k, v] = three(inputs), wrote = elementsOf(inputs, q);
    const call = engine.attention(q, k, v, inputs.asked({ out: q }) as Asked);
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }),
  operation("attention() by integers", (inputs, engine) => {
    const q = inputs.tensor([1, 4, 20, D]), k = inputs.tensor([1, 2, 140, D]);
    const asked = inputs.asked({ precision: "int8-qk", causal: true, lse: true });
    return inputs.started(engine.attention(q, k, k, asked as Asked));
  }),
  operation("attention() in waves", (inputs, engine) => {
    const [q, k] = inWaves(inputs);
    return inputs.started(engine.attention(q, k, k, inputs.asked({ causal: true }) as Asked));
  }, { large: true, tells: true }),
  operation("the function attention()", (inputs) => {
    const [q, k, v] = three(inputs);
    return inputs.started(attention(q, k, v, inputs.asked(everything(inputs)) as Asked));
  }, { bare: true }),
  operation("attentionSync() in waves", (inputs, engine) => {
    const [q, k] = inWaves(inputs);
    const asked = inputs.asked({ causal: true, lse: true });
    return inputs.started(synchronous(() => engine.attentionSync(q, k, k, asked as Asked)));
  }, { sync: true, large: true }),
  operation("attentionSync() into a tensor", (inputs, engine) => {
    const [q, k, v] = three(inputs),
      out = inputs.tensor([B, H, N, D]),
      wrote = elementsOf(inputs, out);
    const asked = inputs.asked({ out });
    const call = synchronous(() => engine.attentionSync(q, k, v, asked as Asked));
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }, { sync: true }),
  operation("attentionSync()", (inputs, engine) => {
    const [q, k, v] = three(inputs), asked = inputs.asked(everything(inputs));
    return inputs.started(synchronous(() => engine.attentionSync(q, k, v, asked as Asked)));
  }, { sync: true }),
];

/** A call that blocks as one that gives a promise. */
function synchronous<T>(call: () => T): Promise<T> {
  return new Promise((resolve) => resolve(call()));
}

function gradientOptions(inputs: Inputs): WrittenOptions {
  const { lse: _, ...options } = everything(inputs);
  return options;
}

function backwardOf(run: (engine: Engine) => Engine["attentionBackward"]) {
  return (inputs: Inputs, engine: Engine) => {
    const [q, k, v] = three(inputs), options = gradientOptions(inputs);
    const [dOut, out] = [inputs.tensor([B, H, N, D]), inputs.tensor([B, H, N, D])];
    const [lse, dLse] = [inputs.tensor([B, H, N]), inputs.tensor([B, H, N])];
    const asked = inputs.asked({ ...options, out, lse, dLse });
    return inputs.started(run(engine)(dOut, q, k, v, asked as Asked));
  };
}

const gradients: readonly Operation[] = [
  operation(
    "the first attentionBackward()",
    backwardOf((engine) => (...given) => engine.attentionBackward(...given)),
    { fresh: true },
  ),
  {
    name: "a later attentionBackward()",
    async ready(setting) {
      await setting.engine.warmup({ gradients: true, dim: D });
      const start = backwardOf((engine) => (...given) => engine.attentionBackward(...given));
      return () => start(new Inputs(setting), setting.engine);
    },
  },
  operation(
    "the function attentionBackward()",
    backwardOf(() => attentionBackward as Engine["attentionBackward"]),
    { bare: true },
  ),
  {
    name: "attentionBackwardSync()",
    sync: true,
    async ready(setting) {
      await setting.engine.warmup({ gradients: true, dim: D });
      const start = backwardOf((engine) => (...given) =>
        synchronous(() => engine.attentionBackwardSync(...given)) as never
      );
      return () => start(new Inputs(setting), setting.engine);
    },
  },
  ...[true, false].map((bare): Operation => ({
    name: bare ? "the function attentionWithGradient()" : "attentionWithGradient()",
    bare,
    ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting;
      return Promise.resolve(() => {
        const [q, k, v] = three(inputs), asked = inputs.asked(gradientOptions(inputs)) as Asked;
        const call = bare
          ? attentionWithGradient(q, k, v, asked)
          : engine.attentionWithGradient(q, k, v, asked);
        return inputs.started(call as Promise<object>);
      });
    },
  })),
  {
    name: "backward() of attentionWithGradient()",
    async ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting;
      const [q, k, v] = three(inputs), asked = inputs.plain(gradientOptions(inputs)) as Asked;
      const { backward } = await engine.attentionWithGradient(q, k, v, asked);
      return () => {
        const dOut = inputs.tensor([B, H, N, D]), dLse = inputs.tensor([B, H, N]);
        return inputs.started(backward(dOut, inputs.asked({ dLse }) as Asked));
      };
    },
  },
];

function partsOf(inputs: Inputs, layout: boolean): AnyTensor[][] {
  const one = () => [
    inputs.tensor(layout ? [B, N, H, D] : [B, H, N, D]),
    inputs.tensor([B, H, N]),
  ];
  return [one(), one(), one()];
}

function mergeOf(run: (engine: Engine) => Engine["mergeAttention"]) {
  return (inputs: Inputs, engine: Engine) => {
    const parts = partsOf(inputs, true).map(([out, lse]) => ({ out, lse }));
    inputs.options.push({ list: parts });
    const call = run(engine)(parts as never, inputs.plain({ layout: "bnhd" }) as Asked);
    return inputs.started(call as Promise<object>);
  };
}

const rows: readonly Operation[] = [
  operation(
    "mergeAttention()",
    mergeOf((engine) => (...given) => engine.mergeAttention(...given) as never),
  ),
  operation(
    "the function mergeAttention()",
    mergeOf(() => mergeAttention as unknown as Engine["mergeAttention"]),
    { bare: true },
  ),
  operation("rope()", (inputs, engine) => {
    const q = inputs.tensor([B, H, N, D]), k = inputs.tensor([B, K, N, D]);
    const [ofQ, ofK] = [elementsOf(inputs, q), elementsOf(inputs, k)];
    const options = inputs.plain({
      ...{ positions: Int32Array.of(3, 1, 4, 1, 5), theta: 500, style: "interleaved", dims: 2 },
      scaling: { type: "linear", factor: 2 },
    });
    return inputs.started(engine.rope(q, k, options as Asked), () => ({ q: ofQ(), k: ofK() }));
  }),
];

/** Options of a function on rows, with its engine, of which no progress is told. */
function ofRows(inputs: Inputs, engine: Engine, options: WrittenOptions): Asked {
  const asked = inputs.asked({ engine, ...options });
  delete asked.onProgress;
  return asked as Asked;
}

const softmaxes: readonly Operation[] = [
  operation("the first softmax()", (inputs, engine) => {
    const x = inputs.tensor([B, N, 3, D]), mask = inputs.mask([N, 1, D]);
    return inputs.started(softmax(x, ofRows(inputs, engine, { mask, axis: 1, scale: 0.5 })));
  }, { fresh: true }),
  operation("logSumExp()", (inputs, engine) => {
    const x = inputs.tensor([B, N, D]);
    return inputs.started(logSumExp(x, ofRows(inputs, engine, { axis: -2, scale: -1 })));
  }),
  operation("logSoftmax() into a tensor", (inputs, engine) => {
    const x = inputs.tensor([N, D]), out = inputs.tensor([N, D]), wrote = elementsOf(inputs, out);
    const call = logSoftmax(x, ofRows(inputs, engine, { out }));
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }),
  operation("softmax() in place", (inputs, engine) => {
    const x = inputs.tensor([N, 33]), wrote = elementsOf(inputs, x);
    const call = softmax(x, ofRows(inputs, engine, { out: x }));
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }),
  operation("softmaxWithGradient()", (inputs, engine) => {
    const x = inputs.tensor([N, D]) as HostTensor, mask = inputs.mask([N, D]);
    return inputs.started(softmaxWithGradient(x, ofRows(inputs, engine, { mask })));
  }, { needs: "rowGradients" }),
  {
    name: "backward() of logSoftmaxWithGradient()",
    needs: "rowGradients",
    async ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting, x = inputs.tensor([B, N, D]);
      const asked = inputs.plain({ engine, axis: 1 }) as Asked;
      const { backward } = await logSoftmaxWithGradient(x as HostTensor, asked);
      return () => {
        const asked = inputs.asked();
        delete asked.onProgress;
        return inputs.started(backward(inputs.tensor([B, N, D]), asked));
      };
    },
  },
];

const convolutions: readonly Operation[] = [
  operation("the first lightweightConvolution()", (inputs, engine) => {
    const v = inputs.tensor([B, N, H, D]), weights = inputs.tensor([H, 4]);
    const options = ofRows(inputs, engine, { causal: true, layout: "bnhd" });
    return inputs.started(lightweightConvolution(v, weights, options));
  }, { fresh: true }),
  operation("dynamicConvolution() into a tensor", (inputs, engine) => {
    const v = inputs.tensor([N, D]), weights = inputs.tensor([N, 3]), out = inputs.tensor([N, D]);
    const wrote = elementsOf(inputs, out);
    const call = dynamicConvolution(v, weights, ofRows(inputs, engine, { out }));
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }),
  {
    name: "backward() of lightweightConvolutionWithGradient()",
    needs: "rowGradients",
    async ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting, weights = inputs.tensor([H, 3]);
      const v = inputs.tensor([B, H, N, D]), asked = inputs.plain({ engine }) as Asked;
      const given = [v as HostTensor, weights as HostTensor, asked] as const;
      const { backward } = await lightweightConvolutionWithGradient(...given);
      return () => {
        const asked = inputs.asked();
        delete asked.onProgress;
        return inputs.started(backward(inputs.tensor([B, H, N, D]), asked));
      };
    },
  },
  {
    name: "step() of a dynamic convolution",
    async ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting, rows = [B, H, N];
      const state = createDynamicConvolutionState(inputs.plain({ engine }) as Asked);
      await state.step(inputs.tensor([...rows, D]), inputs.tensor([...rows, 5]));
      return () => {
        const asked = inputs.asked(), v = inputs.tensor([...rows, D]);
        delete asked.onProgress;
        const call = state.step(v, inputs.tensor([...rows, 5]), asked as Asked);
        return inputs.started(call.finally(() => state.close()));
      };
    },
  },
];

const performers: readonly Operation[] = [
  operation("the first performerAttention()", (inputs, engine) => {
    const [q, k, v] = three(inputs), projection = inputs.tensor([8, D]);
    return inputs.started(performerAttention(q, k, v, ofRows(inputs, engine, { projection })));
  }, { fresh: true }),
  operation("a causal performerAttention() into a tensor", (inputs, engine) => {
    const x = inputs.tensor([B, H, N, D]), out = inputs.tensor([B, H, N, D]);
    const wrote = elementsOf(inputs, out), options = { causal: true, features: 8, out };
    const call = performerAttention(x, x, x, ofRows(inputs, engine, options));
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }),
  {
    name: "backward() of performerAttentionWithGradient()",
    needs: "rowGradients",
    async ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting;
      const x = inputs.tensor([B, H, N, D]) as HostTensor;
      const asked = inputs.plain({ engine, features: 8, causal: true }) as Asked;
      const { backward } = await performerAttentionWithGradient(x, x, x, asked);
      return () => {
        const asked = inputs.asked();
        delete asked.onProgress;
        return inputs.started(backward(inputs.tensor([B, H, N, D]), asked));
      };
    },
  },
  {
    name: "step() of a performer's state",
    async ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting, shape = [B, H, N, D];
      const state = createPerformerState(inputs.plain({ engine, features: 8 }) as Asked);
      const first = inputs.tensor(shape);
      await state.step(first, first, first);
      return () => {
        const asked = inputs.asked(), x = inputs.tensor(shape);
        delete asked.onProgress;
        const call = state.step(x, inputs.tensor(shape), inputs.tensor(shape), asked as Asked);
        return inputs.started(call.finally(() => state.close()));
      };
    },
  },
];

/** The tensors of a call that makes its keys: as many queries as keys. */
function square(inputs: Inputs): [HostTensor, HostTensor, HostTensor] {
  const [q, k, v] = [[2, 40, D], [1, 40, D], [1, 40, 3]].map((shape) => inputs.tensor(shape));
  return [q as HostTensor, k as HostTensor, v as HostTensor];
}

const linears: readonly Operation[] = [
  operation("linformerAttention()", (inputs, engine) => {
    const given = square(inputs), projectK = inputs.tensor([1, 6, 44]);
    const options = { projectK, projectV: inputs.tensor([6, 40]), lse: true, scale: 0.4 };
    return inputs.started(linformerAttention(...given, ofRows(inputs, engine, options) as never));
  }),
  operation("linformerAttention() into a tensor", (inputs, engine) => {
    const given = square(inputs), out = inputs.tensor([2, 40, 3]), wrote = elementsOf(inputs, out);
    const options = ofRows(inputs, engine, { projectK: inputs.tensor([6, 40]), out });
    const call = linformerAttention(...given, options as never);
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }),
  operation("localGlobalAttention()", (inputs, engine) => {
    const given = square(inputs), pool = inputs.tensor([1, 7]);
    const options = { pool, block: 7, causal: true, lse: true };
    return inputs.started(localGlobalAttention(...given, ofRows(inputs, engine, options) as never));
  }),
  ...([
    ["linformer", linformerAttentionWithGradient, { projectK: [6, 40] }],
    ["localGlobal", localGlobalAttentionWithGradient, { pool: [7] }],
  ] as const).map(([name, twin, tensors]): Operation => ({
    name: `backward() of ${name}AttentionWithGradient()`,
    needs: "rowGradients",
    async ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting, given = square(inputs);
      const own = Object.entries(tensors).map(([name, shape]) => [name, inputs.tensor(shape)]);
      const block = name === "localGlobal" ? { block: 7 } : {};
      const asked = inputs.plain({ engine, ...block, ...Object.fromEntries(own) });
      const { backward } = await twin(...given, asked as never);
      return () => {
        const asked = inputs.asked();
        delete asked.onProgress;
        return inputs.started(backward(inputs.tensor([2, 40, 3]), asked));
      };
    },
  })),
  {
    name: "step()",
    async ready(setting) {
      const inputs = new Inputs(setting), { engine } = setting;
      const state = createLocalGlobalState({ block: 7, engine });
      await state.step(...square(inputs));
      return () => {
        const asked = inputs.asked({ lse: true });
        delete asked.onProgress;
        const step = state.step(...square(inputs), asked as never);
        return inputs.started(step.finally(() => state.close()));
      };
    },
  },
];

/** A linear layer whose weight is packed before, and free again behind the call. */
function layer(
  name: string,
  [inputs, outputs]: readonly [number, number],
  start: (inputs: Inputs, engine: Engine, packed: PackedLinear) => Started,
): Operation {
  return {
    ...{ name, needs: "layers" },
    async ready(setting) {
      const { engine } = setting, weight = normals(outputs * inputs, seeded(setting.seed));
      const packed = await packLinear({ data: weight, shape: [outputs, inputs] }, { engine });
      return () => {
        const started = start(new Inputs(setting), engine, packed);
        packed.free(); // The call has it until it ends.
        return started;
      };
    },
  };
}

const layers: readonly Operation[] = [
  layer("linear()", [40, 24], (inputs, engine, packed) => {
    const x = inputs.tensor([2, 9, 40]), bias = inputs.tensor([24]);
    const options = { bias, residual: inputs.tensor([2, 9, 24]), activation: "gelu" };
    return inputs.started(linear(x, packed, ofRows(inputs, engine, options) as Asked));
  }),
  layer("linear() into a tensor", [33, 12], (inputs, engine, packed) => {
    const x = inputs.tensor([70, 33]), out = inputs.tensor([70, 12]);
    const wrote = elementsOf(inputs, out);
    const call = linear(x, packed, ofRows(inputs, engine, { out }) as Asked);
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }),
  operation("packLinear()", (inputs, engine) => {
    const packing = packLinear(inputs.tensor([12, 33]), ofRows(inputs, engine, {}) as Asked);
    const x = { data: normals(3 * 33, seeded(8)), shape: [3, 33] };
    return inputs.started(packing.then((packed) => {
      const call = linear(x, packed);
      packed.free();
      return call;
    }));
  }, { needs: "layers" }),
  operation("layerNorm()", (inputs, engine) => {
    const shape = [3, 30], [weight, bias] = [inputs.tensor([30]), inputs.tensor([30])];
    const x = inputs.tensor(shape), residual = inputs.tensor(shape);
    const options = ofRows(inputs, engine, { residual, eps: 0.1 });
    return inputs.started(layerNorm(x, weight, bias, options as Asked));
  }, { needs: "layers" }),
  operation("gated() into a tensor", (inputs, engine) => {
    const shape = [5, 30], gate = inputs.tensor(shape), up = inputs.tensor(shape);
    const out = inputs.tensor(shape), wrote = elementsOf(inputs, out);
    const call = gated(gate, up, ofRows(inputs, engine, { out }) as Asked);
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }, { needs: "layers" }),
  operation("embedding()", (inputs, engine) => {
    const ids = inputs.numbers([3, 0, 2]), table = inputs.tensor([4, 20]);
    const options = ofRows(inputs, engine, { scale: 2 }) as Asked;
    return inputs.started(embedding(ids as never, table, options));
  }, { needs: "layers" }),
  operation("linearWithGradient()", (inputs, engine) => {
    const x = inputs.tensor([9, 33]) as Tensor, weight = inputs.tensor([12, 33]) as Tensor;
    const options = { residual: inputs.tensor([9, 12]), activation: "silu" };
    return inputs.started(
      linearWithGradient(x, weight, ofRows(inputs, engine, options) as Asked),
    );
  }, { needs: "rowGradients" }),
  {
    name: "backward() of layerNormWithGradient()",
    needs: "rowGradients",
    async ready(setting) {
      const inputs = new Inputs(setting),
        { engine } = setting,
        [x, residual, weight] = [
          ...[inputs.tensor([7, 30]), inputs.tensor([7, 30]), inputs.tensor([30])],
        ] as Tensor[];
      const asked = inputs.plain({ engine, residual }) as Asked;
      const { backward } = await layerNormWithGradient(x, weight, null, asked);
      return () => {
        const dSum = inputs.tensor([7, 30]), asked = inputs.asked({ dSum });
        delete asked.onProgress;
        return inputs.started(backward(inputs.tensor([7, 30]) as Tensor, asked as Asked));
      };
    },
  },
];

const lengths = [19, 3];

const cached: readonly Operation[] = [
  operation("cache.attend()", (inputs) => {
    const cache = inputs.cache(lengths), q = inputs.tensor([2, 2, 3, D]);
    const options = { causal: true, window: [9, null], lse: true, bias: inputs.tensor([1, 19]) };
    return inputs.started(cache.attend(q, inputs.asked(options) as Asked));
  }, { readsCaches: true }),
  operation("attention() to a cache of eight bits", (inputs, engine) => {
    const cache = inputs.cache(lengths, { dtype: "int8" }), q = inputs.tensor([2, 2, 1, D]);
    const options = { lse: true, sinks: inputs.numbers([1, 2]) };
    return inputs.started(engine.attention(q, cache, inputs.asked(options) as Asked));
  }, { readsCaches: true }),
  operation("cache.attend() into a tensor", (inputs) => {
    const cache = inputs.cache(lengths), q = inputs.tensor([2, 1, 2, D]);
    const out = inputs.tensor([2, 1, 2, D]), wrote = elementsOf(inputs, out);
    const call = cache.attend(q, inputs.asked({ out }) as Asked);
    return inputs.started(call.then(() => {}), () => ({ wrote: wrote() }));
  }, { readsCaches: true }),
  operation("cache.attendSync()", (inputs) => {
    const cache = inputs.cache(lengths), q = inputs.tensor([2, 2, 3, D]);
    const asked = inputs.asked({ causal: true, lse: true });
    return inputs.started(synchronous(() => cache.attendSync(q, asked as Asked)));
  }, { readsCaches: true, sync: true }),
  operation("cache.save()", (inputs) => {
    const cache = inputs.cache([40, 3]);
    return inputs.started(
      cache.save().then((bytes) => ({ bytes: { data: bytes, shape: [bytes.length] } })),
    );
  }, { readsCaches: true }),
];

const cascades = [
  ["of arrays", false, false],
  ["of caches", true, true],
  ["of a cache and arrays", true, false],
  ["of arrays and a cache", false, true],
] as const;

function cascade(name: string, ofCache: readonly [boolean, boolean]): Operation {
  return operation(`cascadeAttention() ${name}`, (inputs, engine) => {
    const q = inputs.tensor([2, 2, 3, D]);
    const part = (at: 0 | 1, batch: number, tokens: readonly number[]) =>
      ofCache[at] ? inputs.cache(tokens) : pair(inputs, [batch, 1, 9, D]);
    const prefix = part(0, 1, [21]), suffix = part(1, 2, lengths);
    for (const given of [prefix, suffix]) {
      if (!ofCache[given === prefix ? 0 : 1]) inputs.options.push(given as never);
    }
    const options = { causal: true, lse: true, scale: 0.7, sinks: inputs.numbers([0.5, -2]) };
    const asked = inputs.asked(options);
    delete asked.onProgress;
    return inputs.started(
      engine.cascadeAttention(q, prefix as never, suffix as never, asked as Asked),
    );
  }, { readsCaches: ofCache[0] || ofCache[1] });
}

function pair(inputs: Inputs, shape: readonly number[]) {
  return { k: inputs.tensor(shape), v: inputs.tensor(shape) };
}

/** A stream of pieces, none of which is waited for. */
function stream(
  inputs: Inputs,
  q: AnyTensor,
  pieces: readonly (readonly [AnyTensor, AnyTensor])[],
  options: WrittenOptions,
) {
  const asked = inputs.asked(options);
  delete asked.onProgress;
  const opened = attentionStream(q, asked as Asked);
  for (const [k, v] of pieces) opened.push(k, v);
  return opened.finish() as Promise<{ lse: AnyTensor }>;
}

/** What a stream can be asked. */
function streamOptions(inputs: Inputs): WrittenOptions {
  const { kvLengths: _, mask: __, bias: ___, lse: ____, ...options } = everything(inputs);
  return options;
}

const streams: readonly Operation[] = [
  operation("attentionStream()", (inputs, engine) => {
    const [q, k, v] = three(inputs), more = inputs.tensor([B, K, 3, D]);
    const options = { ...streamOptions(inputs), engine };
    return inputs.started(stream(inputs, q, [[k, v], [more, more]], options));
  }),
  operation("the function attentionStream() by itself", (inputs) => {
    const [q, k, v] = three(inputs);
    return inputs.started(stream(inputs, q, [[k, v], [k, v]], streamOptions(inputs)));
  }, { bare: true }),
  operation("attentionStream() into a tensor", (inputs, engine) => {
    const [q, k, v] = three(inputs), out = inputs.tensor([B, H, N, D]);
    const wrote = elementsOf(inputs, out), call = stream(inputs, q, [[k, v]], { out, engine });
    return inputs.started(call.then(({ lse }) => ({ lse })), () => ({ wrote: wrote() }));
  }),
  operation("attentionStream() in blocks", (inputs, engine) => {
    const [q, k] = inWaves(inputs);
    return inputs.started(stream(inputs, q, [[k, k], [k, k]], { engine }));
  }, { large: true }),
];

/** Other ways of caches: for whole runs on a CPU. */
const others: readonly Operation[] = [
  operation("cache.attend() to drafts of some sequences", (inputs) => {
    const cache = inputs.cache([19, 3, 9]), q = inputs.tensor([1, 2, 5, D]);
    const lists = { sequences: [2, 0], cuSeqlens: [0, 3, 5], parents: [-1, 0, 0, -1, -1] };
    return inputs.started(cache.attend(q, inputs.asked({ ...lists, lse: true }) as Asked));
  }, { readsCaches: true, needs: "attentionSync" }),
  operation("cache.step()", (inputs) => {
    const cache = inputs.cache(lengths), q = inputs.tensor([2, 2, 3, D]);
    const k = inputs.tensor([2, 1, 3, D]), v = inputs.tensor([2, 1, 3, D]);
    const options = { causal: true, lengths: [3, 1], lse: true, rope: { theta: 100, dims: 2 } };
    return inputs.started(cache.step(q, k, v, inputs.asked(options) as Asked));
  }, { readsCaches: true, needs: "attentionSync" }),
];

/** All of them. */
export const operations: readonly Operation[] = [
  ...attentions,
  ...gradients,
  ...rows,
  ...softmaxes,
  ...linears,
  ...layers,
  ...convolutions,
  ...performers,
  ...cached,
  ...(isWhole ? others : []),
  ...cascades.map(([name, ...ofCache]) => cascade(name, ofCache)),
  ...streams,
];
