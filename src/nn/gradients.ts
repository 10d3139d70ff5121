/**
 * Layers with their gradients, on the CPU and in f32.
 *
 * @module
 */

import { checkOneOf } from "../check/words.ts";
import type { Machinery } from "../contract/backend.ts";
import { type OnEngine, readGiven, sharedMachinery } from "../functions/default_engine.ts";
import {
  embeddingGradientNames,
  type EmbeddingGradientOptions,
  type FloatTensor,
  gatedGradientNames,
  type GatedGradientOptions,
  geluGradientNames,
  type GeluGradientOptions,
  layerGradientNames,
  type LayerGradientOptions,
  layerNormGradientNames,
  type LayerNormGradientOptions,
  type LayerPassOptions,
  linearGradientNames,
  type LinearGradientOptions,
  type NormPassOptions,
  type OwnFloatTensor,
  rmsNormGradientNames,
  type RmsNormGradientOptions,
  twinOf,
} from "../operations/nn/backward/options.ts";
import { readPlainLinear } from "../operations/nn/backward/read.ts";
import type { RowsCall } from "../operations/nn/call.ts";
import { readEmbedding, readMeanRows } from "../operations/nn/embedding.ts";
import { readNorm } from "../operations/nn/norm.ts";
import { type Activation, cannotOf } from "../operations/nn/options.ts";
import { readPointwise } from "../operations/nn/pointwise.ts";
import type { PlainLinearPlan } from "../operations/nn/backward/tokens.ts";
import type {
  EmbeddingPlan,
  MeanPlan,
  NormPlan,
  PointwisePlan,
  RowsPlan,
} from "../operations/nn/tokens.ts";
import { useAll } from "../tensor/lending.ts";
import type { NumberList } from "../tensor/tensor.ts";
import type { WithEngine } from "./given.ts";
import type { GivenTo } from "./norms.ts";

/** What is loaded at the first call. */
type Late = typeof import("../operations/nn/backward/run.ts");

/** The same, once it is there: asking for it again takes some microseconds. */
let loaded: Late | undefined;

/** A layer as it is asked for. */
interface Asked<Options extends object, Plan extends RowsPlan> {
  /** The function without gradients. */
  readonly name: string;
  readonly names: readonly (keyof Options & string)[];
  read(options: Options, doing: string): RowsCall<Plan>;
  run(
    late: Late,
    machinery: Machinery | Promise<Machinery>,
    call: RowsCall<Plan>,
  ): Promise<unknown>;
}

/** Reads a call, which must be before anything is awaited, and runs it. What it uses is in use meanwhile. */
async function withGradient<Options extends object, Plan extends RowsPlan>(
  { name, names, read, run }: Asked<Options, Plan>,
  asked: WithEngine<Options>,
): Promise<unknown> {
  const doing = cannotOf(twinOf(name)), { machinery, options } = readGiven(asked, names, doing);
  const call = read(options, doing), leave = useAll(Object.values(call.plan.used));
  try {
    loaded ??= await import("../operations/nn/backward/run.ts");
    return await run(loaded, machinery ?? sharedMachinery(), call);
  } finally {
    leave();
  }
}

/** A layer's result, and what gives its gradients. */
export interface LayerWithGradient<Gradients, Pass = LayerPassOptions> {
  /** The result, f32. */
  readonly out: OwnFloatTensor;
  /**
   * The gradients of a loss, from that by `out`: `dOut`, f32, in the shape of `out`. Inputs and results must not have changed
   * since; can be called more than once.
   */
  backward(dOut: FloatTensor, pass?: Pass): Promise<Gradients>;
}

/** Gradients of a linear layer. */
export type LinearGradients<Options = undefined> =
  & {
    /** By `x`, in its shape. */
    readonly dx: OwnFloatTensor;
    /** By the weight, in its shape. */
    readonly dWeight: OwnFloatTensor;
  }
  & (GivenTo<Options, "bias"> extends undefined ? unknown : {
    /** By `bias`, where one was given. */
    readonly dBias: OwnFloatTensor;
  })
  & (GivenTo<Options, "residual"> extends undefined ? unknown : {
    /** By `residual`, where one was given: `dOut` once more. */
    readonly dResidual: OwnFloatTensor;
  });

/**
 * A linear layer, `activation(x W^T + bias) + residual`, of a weight as it is, which may change from call to call; and its
 * gradients. With `D = dOut activation'(x W^T + bias)` these are `dx = D W`, `dWeight = D^T x`, `dBias` the sum of the rows of `D`,
 * and `dResidual = dOut`. All three products are made by the tiles that {@linkcode linear} has.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { linearWithGradient } from "@flashtile/attention/nn";
 *
 * const weight = tensor(new Float32Array(64 * 32).fill(0.1), [64, 32]); // [outputs, inputs]
 * const x = tensor(new Float32Array(2 * 100 * 32).fill(1), [2, 100, 32]);
 * const bias = tensor(new Float32Array(64), [64]);
 * const { out, backward } = await linearWithGradient(x, weight, { bias, activation: "gelu" });
 * const { dx, dWeight, dBias } = await backward(out); // as for the loss sum(out ** 2) / 2
 * console.log(dx.shape, dWeight.shape, dBias.shape); // [2, 100, 32] [64, 32] [64]
 * ```
 *
 * Rows are summed in one order: the same bits on any number of threads. On the CPU.
 *
 * @param x `[..., inputs]`, f32, any strides.
 * @param weight `[outputs, inputs]`, f32, any strides; with `layout: "in-out"` the other way round.
 * @param options See {@linkcode LinearGradientOptions}.
 * @returns `out`, `[..., outputs]`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function linearWithGradient<
  const Options extends (LinearGradientOptions & OnEngine) | undefined = undefined,
>(
  x: FloatTensor,
  weight: FloatTensor,
  options?: Options,
): Promise<LayerWithGradient<LinearGradients<Options>>> {
  return await withGradient<LinearGradientOptions, PlainLinearPlan>({
    ...{ name: "linear", names: linearGradientNames },
    read: (given, doing) => readPlainLinear(x, weight, given, doing),
    run: (late, machinery, call) => late.linearWithGradient(machinery, call),
  }, options) as LayerWithGradient<LinearGradients<Options>>;
}

/** Gradients of a norm. */
export type NormGradients<
  Options = undefined,
  Weight = undefined,
  Bias = undefined,
> =
  & {
    /** By `x`, in its shape. */
    readonly dx: OwnFloatTensor;
  }
  & (Weight extends FloatTensor ? {
      /** By `weight`, `[width]`, where one was given. */
      readonly dWeight: OwnFloatTensor;
    }
    : unknown)
  & (Bias extends FloatTensor ? {
      /** By `bias`, `[width]`, where one was given. */
      readonly dBias: OwnFloatTensor;
    }
    : unknown)
  & (GivenTo<Options, "residual"> extends undefined ? unknown : {
    /** By `residual`, where one was given: as `dx`. */
    readonly dResidual: OwnFloatTensor;
  });

/** A norm's results, and what gives its gradients. */
export type NormWithGradient<
  Options = undefined,
  Weight = undefined,
  Bias = undefined,
> =
  & LayerWithGradient<NormGradients<Options, Weight, Bias>, NormPassOptions>
  & (GivenTo<Options, "residual"> extends undefined ? unknown : {
    /** `x + residual`, what was normalised. */
    readonly sum: OwnFloatTensor;
  });

/**
 * A {@linkcode layerNorm} with its gradients. With `h = (s - mean s) / sqrt(var + eps)` and `g = dOut weight` these are
 * `dx = (g - mean g - h mean(g h)) / sqrt(var + eps)`, and `dWeight` and `dBias` the sums over all rows of `dOut h` and `dOut`.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { layerNormWithGradient } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(1, 2, 3, 4, 5, 7), [2, 3]);
 * const weight = tensor(Float32Array.of(1, 1, 1), [3]), bias = tensor(new Float32Array(3), [3]);
 * const { out, backward } = await layerNormWithGradient(x, weight, bias);
 * const { dx, dWeight, dBias } = await backward(out);
 * console.log(dx.shape, dWeight.shape, dBias.shape); // [2, 3] [3] [3]
 * ```
 *
 * With a `residual`, `sum` is given back as well, and `backward(dOut, { dSum })` takes the gradient by it. On the CPU.
 *
 * @param x `[..., width]`, f32, any strides.
 * @param weight `[width]`, f32; ones where it is left out or `null`.
 * @param bias `[width]`, f32; zeros where it is left out or `null`.
 * @param options See {@linkcode LayerNormGradientOptions}.
 * @returns `out`, with a `residual` also `sum`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function layerNormWithGradient<
  Weight extends FloatTensor | null | undefined = undefined,
  Bias extends FloatTensor | null | undefined = undefined,
  const Options extends (LayerNormGradientOptions & OnEngine) | undefined = undefined,
>(
  x: FloatTensor,
  weight?: Weight,
  bias?: Bias,
  options?: Options,
): Promise<NormWithGradient<Options, Weight, Bias>> {
  return await withGradient<LayerNormGradientOptions, NormPlan>({
    ...{ name: "layerNorm", names: layerNormGradientNames },
    read: (given, doing) => readNorm("layerNorm", { x, weight, bias }, given, doing),
    run: (late, machinery, call) => late.normWithGradient(machinery, call),
  }, options) as NormWithGradient<Options, Weight, Bias>;
}

/**
 * An {@linkcode rmsNorm} with its gradients. With `f = 1 / sqrt(mean s^2 + eps)` and `g = dOut (weight + offset)` these are
 * `dx = f (g - s f^2 mean(g s))`, and `dWeight` the sum over all rows of `dOut s f`.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { rmsNormWithGradient } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(3, 4), [1, 2]), weight = tensor(Float32Array.of(1, 1), [2]);
 * const residual = tensor(new Float32Array(2), [1, 2]);
 * const { sum, backward } = await rmsNormWithGradient(x, weight, { residual });
 * const dOut = tensor(Float32Array.of(1, 0), [1, 2]);
 * const { dx, dWeight } = await backward(dOut, { dSum: sum }); // where the loss has sum ** 2 / 2 in it as well
 * console.log(dx.data, dWeight.data);
 * ```
 *
 * On the CPU.
 *
 * @param x `[..., width]`, f32, any strides.
 * @param weight `[width]`, f32; ones where it is left out or `null`.
 * @param options See {@linkcode RmsNormGradientOptions}.
 * @returns `out`, with a `residual` also `sum`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function rmsNormWithGradient<
  Weight extends FloatTensor | null | undefined = undefined,
  const Options extends (RmsNormGradientOptions & OnEngine) | undefined = undefined,
>(x: FloatTensor, weight?: Weight, options?: Options): Promise<NormWithGradient<Options, Weight>> {
  return await withGradient<RmsNormGradientOptions, NormPlan>({
    ...{ name: "rmsNorm", names: rmsNormGradientNames },
    read: (given, doing) => readNorm("rmsNorm", { x, weight, bias: null }, given, doing),
    run: (late, machinery, call) => late.normWithGradient(machinery, call),
  }, options) as NormWithGradient<Options, Weight>;
}

/** A gradient by `x`. */
export interface RowGradients {
  /** In the shape of `x`. */
  readonly dx: OwnFloatTensor;
}

/** A function of each number. */
async function ofEach<Options extends LayerGradientOptions>(
  name: "gelu" | "silu" | "relu" | "tanh",
  x: FloatTensor,
  names: readonly (keyof Options & string)[],
  asked: WithEngine<Options>,
  which: (options: Options, doing: string) => Activation,
): Promise<LayerWithGradient<RowGradients>> {
  return await withGradient<Options, PointwisePlan>({
    ...{ name, names },
    read(given, doing) {
      const activation = which(given, doing), { signal } = given;
      return readPointwise({ name, activation, combine: "none", x: ["x", x] }, { signal }, doing);
    },
    run: (late, machinery, call) => late.pointwiseWithGradient(machinery, call),
  }, asked) as LayerWithGradient<RowGradients>;
}

/**
 * A {@linkcode gelu} with its gradient, `dx = dOut gelu'(x)`.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { geluWithGradient } from "@flashtile/attention/nn";
 *
 * const { out, backward } = await geluWithGradient(tensor(Float32Array.of(-1, 0, 2), [3]));
 * const { dx } = await backward(tensor(Float32Array.of(1, 1, 1), [3]));
 * console.log(out.data, dx.data); // -0.159, 0, 1.954; -0.083, 0.5, 1.085
 * ```
 *
 * On the CPU.
 *
 * @param x Any shape and strides, f32.
 * @param options See {@linkcode GeluGradientOptions}.
 * @returns `out` in the shape of `x`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function geluWithGradient(
  x: FloatTensor,
  options?: GeluGradientOptions & OnEngine,
): Promise<LayerWithGradient<RowGradients>> {
  return await ofEach("gelu", x, geluGradientNames, options, ({ approximate }, doing) => {
    checkOneOf("approximate", approximate, ["none", "tanh"], doing);
    return approximate === "tanh" ? "gelu-tanh" : "gelu";
  });
}

/**
 * A {@linkcode silu} with its gradient, `dx = dOut silu'(x)`.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { siluWithGradient } from "@flashtile/attention/nn";
 *
 * const { backward } = await siluWithGradient(tensor(Float32Array.of(-1, 0, 2), [3]));
 * const { dx } = await backward(tensor(Float32Array.of(1, 1, 1), [3]));
 * console.log(dx.data); // 0.072, 0.5, 1.091
 * ```
 *
 * On the CPU.
 *
 * @param x Any shape and strides, f32.
 * @param options See {@linkcode LayerGradientOptions}.
 * @returns `out` in the shape of `x`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function siluWithGradient(
  x: FloatTensor,
  options?: LayerGradientOptions & OnEngine,
): Promise<LayerWithGradient<RowGradients>> {
  return await ofEach("silu", x, layerGradientNames, options, () => "silu");
}

/**
 * A {@linkcode relu} with its gradient: `dOut` where `x` is above 0, else 0.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { reluWithGradient } from "@flashtile/attention/nn";
 *
 * const { backward } = await reluWithGradient(tensor(Float32Array.of(-1, 0, 2), [3]));
 * const { dx } = await backward(tensor(Float32Array.of(1, 1, 1), [3]));
 * console.log(dx.data); // 0, 0, 1
 * ```
 *
 * On the CPU.
 *
 * @param x Any shape and strides, f32.
 * @param options See {@linkcode LayerGradientOptions}.
 * @returns `out` in the shape of `x`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function reluWithGradient(
  x: FloatTensor,
  options?: LayerGradientOptions & OnEngine,
): Promise<LayerWithGradient<RowGradients>> {
  return await ofEach("relu", x, layerGradientNames, options, () => "relu");
}

/**
 * The hyperbolic tangent with its gradient, `dx = dOut (1 - tanh(x)^2)`, which loses nothing where the tangent is near 1.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { tanhWithGradient } from "@flashtile/attention/nn";
 *
 * const { backward } = await tanhWithGradient(tensor(Float32Array.of(0, 10), [2]));
 * const { dx } = await backward(tensor(Float32Array.of(1, 1), [2]));
 * console.log(dx.data); // 1, 8.2e-9
 * ```
 *
 * On the CPU.
 *
 * @param x Any shape and strides, f32.
 * @param options See {@linkcode LayerGradientOptions}.
 * @returns `out` in the shape of `x`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function tanhWithGradient(
  x: FloatTensor,
  options?: LayerGradientOptions & OnEngine,
): Promise<LayerWithGradient<RowGradients>> {
  return await ofEach("tanh", x, layerGradientNames, options, () => "tanh");
}

/** Gradients of a gate, and of what it lets pass. */
export interface GatedGradients {
  /** By `gate`, in its shape. */
  readonly dGate: OwnFloatTensor;
  /** By `up`, in its shape. */
  readonly dUp: OwnFloatTensor;
}

/**
 * A {@linkcode gated} product with its gradients, `dGate = dOut up activation'(gate)` and `dUp = dOut activation(gate)`.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { gatedWithGradient } from "@flashtile/attention/nn";
 *
 * const gate = tensor(Float32Array.of(1, 2), [1, 2]), up = tensor(Float32Array.of(30, 40), [1, 2]);
 * const { out, backward } = await gatedWithGradient(gate, up);
 * const { dGate, dUp } = await backward(out);
 * console.log(dGate.shape, dUp.shape); // [1, 2] [1, 2]
 * ```
 *
 * On the CPU.
 *
 * @param gate Any shape and strides, f32.
 * @param up The same shape, f32.
 * @param options See {@linkcode GatedGradientOptions}.
 * @returns `out` in the shape of `gate`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function gatedWithGradient(
  gate: FloatTensor,
  up: FloatTensor,
  options?: GatedGradientOptions & OnEngine,
): Promise<LayerWithGradient<GatedGradients>> {
  return await withGradient<GatedGradientOptions, PointwisePlan>({
    ...{ name: "gated", names: gatedGradientNames },
    read: ({ activation = "silu", signal }, doing) =>
      readPointwise(
        { name: "gated", activation, combine: "multiply", x: ["gate", gate], y: ["up", up] },
        { signal },
        doing,
      ),
    run: (late, machinery, call) => late.gatedWithGradient(machinery, call),
  }, options) as LayerWithGradient<GatedGradients>;
}

/** Gradients of a sum, each `dOut` once more. */
export interface AddGradients {
  /** By `a`, in its shape. */
  readonly da: OwnFloatTensor;
  /** By `b`, in its shape. */
  readonly db: OwnFloatTensor;
}

/**
 * {@linkcode add} with its gradients, which are `dOut` both. Where an axis of `b` is repeated by a stride of 0, `db` has each
 * repetition by itself.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { addWithGradient } from "@flashtile/attention/nn";
 *
 * const a = tensor(Float32Array.of(1, 2), [2]), b = tensor(Float32Array.of(10, 20), [2]);
 * const { out, backward } = await addWithGradient(a, b);
 * const { da, db } = await backward(out);
 * console.log(da.data, db.data); // 11, 22 twice
 * ```
 *
 * On the CPU.
 *
 * @param a Any shape and strides, f32.
 * @param b The same shape, f32.
 * @param options See {@linkcode LayerGradientOptions}.
 * @returns `out` in the shape of `a`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function addWithGradient(
  a: FloatTensor,
  b: FloatTensor,
  options?: LayerGradientOptions & OnEngine,
): Promise<LayerWithGradient<AddGradients>> {
  return await withGradient<LayerGradientOptions, PointwisePlan>({
    ...{ name: "add", names: layerGradientNames },
    read: (given, doing) =>
      readPointwise(
        { name: "add", activation: null, combine: "add", x: ["a", a], y: ["b", b] },
        given,
        doing,
      ),
    run: (late, machinery, call) => late.addWithGradient(machinery, call),
  }, options) as LayerWithGradient<AddGradients>;
}

/** Gradient of rows of a table. */
export interface EmbeddingGradients {
  /** By `table`, in its shape: 0 of rows that were not taken. */
  readonly dTable: OwnFloatTensor;
}

/**
 * An {@linkcode embedding} with its gradient: rows of `dOut`, times `scale`, are added to those of the table that were taken, in
 * their order.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { embeddingWithGradient } from "@flashtile/attention/nn";
 *
 * const table = tensor(Float32Array.of(0, 1, 10, 11, 20, 21), [3, 2]); // three ids
 * const { backward } = await embeddingWithGradient([2, 0, 2], table);
 * const { dTable } = await backward(tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]));
 * console.log(dTable.data); // 3, 4, 0, 0, 6, 8
 * ```
 *
 * On the CPU.
 *
 * @param ids Whole numbers, an `Int32Array` or an array, each a row of `table`.
 * @param table `[rows, width]`, f32, any strides.
 * @param options See {@linkcode EmbeddingGradientOptions}.
 * @returns `out`, `[ids, width]`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function embeddingWithGradient(
  ids: NumberList,
  table: FloatTensor,
  options?: EmbeddingGradientOptions & OnEngine,
): Promise<LayerWithGradient<EmbeddingGradients>> {
  return await withGradient<EmbeddingGradientOptions, EmbeddingPlan>({
    ...{ name: "embedding", names: embeddingGradientNames },
    read: (given, doing) => readEmbedding(ids, table, given, doing),
    run: (late, machinery, call) => late.embeddingWithGradient(machinery, call),
  }, options) as LayerWithGradient<EmbeddingGradients>;
}

/**
 * {@linkcode meanRows} with its gradient: each row has its share of its sequence's, `dx = dOut / rows`.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { meanRowsWithGradient } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2]);
 * const { backward } = await meanRowsWithGradient(x, [0, 2, 3]); // two sequences, of two rows and of one
 * const { dx } = await backward(tensor(Float32Array.of(1, 2, 3, 4), [2, 2]));
 * console.log(dx.data); // 0.5, 1, 0.5, 1, 3, 4
 * ```
 *
 * On the CPU.
 *
 * @param x `[rows, width]`, f32, any strides.
 * @param cuSeqlens From 0 to the number of rows, as `attention()` takes them.
 * @param options See {@linkcode LayerGradientOptions}.
 * @returns `out`, `[sequences, width]`, and `backward(dOut)`.
 * @throws {TypeError} When an argument is of a wrong kind or not f32, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {Error} On a webgpu engine.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function meanRowsWithGradient(
  x: FloatTensor,
  cuSeqlens: NumberList,
  options?: LayerGradientOptions & OnEngine,
): Promise<LayerWithGradient<RowGradients>> {
  return await withGradient<LayerGradientOptions, MeanPlan>({
    ...{ name: "meanRows", names: layerGradientNames },
    read: (given, doing) => readMeanRows(x, cuSeqlens, given, doing),
    run: (late, machinery, call) => late.meanRowsWithGradient(machinery, call),
  }, options) as LayerWithGradient<RowGradients>;
}
