/**
 * Functions of each number, and of two.
 *
 * @module
 */

import type { OnEngine } from "../functions/default_engine.ts";
import type { RowsResult } from "../functions/softmax.ts";
import {
  type Activation,
  gatedNames,
  type GatedOptions,
  geluNames,
  type GeluOptions,
  rowsNames,
  type RowsOptions,
} from "../operations/nn/options.ts";
import { type PointwiseGiven, readPointwise } from "../operations/nn/pointwise.ts";
import { cannotOf } from "../operations/nn/options.ts";
import { checkOneOf } from "../check/words.ts";
import type { TensorData } from "../tensor/dtype.ts";
import type { AnyTensor, Tensor } from "../tensor/tensor.ts";
import { compute, computeSync } from "./given.ts";

/** What is read of a call of one tensor. */
function one(name: PointwiseGiven["name"], activation: Activation, x: AnyTensor): PointwiseGiven {
  return { name, activation, combine: "none", x: ["x", x] };
}

/** Which of the two. */
function geluOf({ approximate }: GeluOptions): Activation {
  checkOneOf("approximate", approximate, ["none", "tanh"], cannotOf("gelu"));
  return approximate === "tanh" ? "gelu-tanh" : "gelu";
}

/** What is read of a call of two. */
function pairOf(
  gate: AnyTensor,
  up: AnyTensor,
  { activation = "silu" }: GatedOptions,
): PointwiseGiven {
  return { name: "gated", activation, combine: "multiply", x: ["gate", gate], y: ["up", up] };
}

/** The same of a sum. */
function sumOf(a: AnyTensor, b: AnyTensor): PointwiseGiven {
  return { name: "add", activation: null, combine: "add", x: ["a", a], y: ["b", b] };
}

/**
 * `x / 2 (1 + erf(x / sqrt 2))` of each number, or with `approximate: "tanh"`
 * `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (Hendrycks and Gimpel, arXiv 1606.08415).
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { gelu } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(-1, 0, 2), [3]);
 * const { out } = await gelu(x);
 * console.log(out.data); // -0.159, 0, 1.954
 * ```
 *
 * @param x Any shape, storage and strides.
 * @param options See {@linkcode GeluOptions}.
 * @returns `out` in the shape and dtype of `x`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function gelu<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options?: GeluOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute(
    "gelu",
    geluNames,
    options as GeluOptions & OnEngine,
    (given: GeluOptions) => readPointwise(one("gelu", geluOf(given), x), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * As {@linkcode gelu}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param x Any shape, storage and strides.
 * @param options As those of {@linkcode gelu}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode gelu} rejects; an `Error` where its kernels are not loaded yet.
 */
export function geluSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options: GeluOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const result = computeSync(
    "gelu",
    geluNames,
    options as GeluOptions & OnEngine,
    (given: GeluOptions) => readPointwise(one("gelu", geluOf(given), x), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * `x / (1 + exp(-x))` of each number (Elfwing et al., arXiv 1702.03118).
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { silu } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(-1, 0, 2), [3]);
 * const { out } = await silu(x);
 * console.log(out.data); // -0.269, 0, 1.762
 * ```
 *
 * @param x Any shape, storage and strides.
 * @param options See {@linkcode RowsOptions}.
 * @returns `out` in the shape and dtype of `x`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function silu<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options?: RowsOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute(
    "silu",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readPointwise(one("silu", "silu", x), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * As {@linkcode silu}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param x Any shape, storage and strides.
 * @param options As those of {@linkcode silu}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode silu} rejects; an `Error` where its kernels are not loaded yet.
 */
export function siluSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options: RowsOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const result = computeSync(
    "silu",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readPointwise(one("silu", "silu", x), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * `max(x, 0)` of each number; a NaN stays one.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { relu } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(-1, 0, 2), [3]);
 * const { out } = await relu(x);
 * console.log(out.data); // 0, 0, 2
 * ```
 *
 * @param x Any shape, storage and strides.
 * @param options See {@linkcode RowsOptions}.
 * @returns `out` in the shape and dtype of `x`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function relu<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options?: RowsOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute(
    "relu",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readPointwise(one("relu", "relu", x), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * As {@linkcode relu}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param x Any shape, storage and strides.
 * @param options As those of {@linkcode relu}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode relu} rejects; an `Error` where its kernels are not loaded yet.
 */
export function reluSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options: RowsOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const result = computeSync(
    "relu",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readPointwise(one("relu", "relu", x), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * The hyperbolic tangent of each number.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { tanh } from "@flashtile/attention/nn";
 *
 * const x = tensor(Float32Array.of(-1, 0, 2), [3]);
 * const { out } = await tanh(x);
 * console.log(out.data); // -0.762, 0, 0.964
 * ```
 *
 * @param x Any shape, storage and strides.
 * @param options See {@linkcode RowsOptions}.
 * @returns `out` in the shape and dtype of `x`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function tanh<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options?: RowsOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute(
    "tanh",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readPointwise(one("tanh", "tanh", x), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * As {@linkcode tanh}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param x Any shape, storage and strides.
 * @param options As those of {@linkcode tanh}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode tanh} rejects; an `Error` where its kernels are not loaded yet.
 */
export function tanhSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  x: Tensor<Data>,
  options: RowsOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const result = computeSync(
    "tanh",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readPointwise(one("tanh", "tanh", x), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * `activation(gate) up` of each pair of numbers: SwiGLU with `"silu"`, the default, and GeGLU with `"gelu"` (Shazeer,
 * arXiv 2002.05202, equation 6). Where one layer makes both, they are views of its result, with strides.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { gated } from "@flashtile/attention/nn";
 *
 * const both = tensor(Float32Array.of(1, 2, 30, 40), [1, 4]); // gate and up side by side
 * const gate = { ...both, shape: [1, 2], strides: [4, 1] };
 * const { out } = await gated(gate, { ...gate, offset: 2 });
 * console.log(out.data); // 21.9, 70.5
 * ```
 *
 * @param gate Any shape, storage and strides.
 * @param up The same shape.
 * @param options See {@linkcode GatedOptions}.
 * @returns `out` in the shape and dtype of `gate`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function gated<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  gate: Tensor<Data>,
  up: AnyTensor,
  options?: GatedOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute(
    "gated",
    gatedNames,
    options as GatedOptions & OnEngine,
    (given: GatedOptions) => readPointwise(pairOf(gate, up, given), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * As {@linkcode gated}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param gate Any shape, storage and strides.
 * @param up The same shape.
 * @param options As those of {@linkcode gated}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode gated} rejects; an `Error` where its kernels are not loaded yet.
 */
export function gatedSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  gate: Tensor<Data>,
  up: AnyTensor,
  options: GatedOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const result = computeSync(
    "gated",
    gatedNames,
    options as GatedOptions & OnEngine,
    (given: GatedOptions) => readPointwise(pairOf(gate, up, given), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * `a + b` of each pair of numbers: a residual, or positions. An axis of `b` that is to be repeated has a stride of 0.
 *
 * ```ts
 * import { tensor } from "@flashtile/attention";
 * import { add } from "@flashtile/attention/nn";
 *
 * const a = tensor(Float32Array.of(1, 2, 3, 4), [2, 2]), b = tensor(Float32Array.of(10, 20), [2]);
 * const { out } = await add(a, { ...b, shape: [2, 2], strides: [0, 1] });
 * console.log(out.data); // 11, 22, 13, 24
 * ```
 *
 * @param a Any shape, storage and strides.
 * @param b The same shape.
 * @param options See {@linkcode RowsOptions}.
 * @returns `out` in the shape and dtype of `a`.
 * @throws {TypeError} When an argument is of a wrong kind, or an option is unknown.
 * @throws {RangeError} When shapes, strides or values do not fit, or memory is short.
 * @throws {BackendUnavailableError} When no backend can serve on this machine.
 * @throws `signal.reason` when the signal aborts.
 */
export async function add<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  a: Tensor<Data>,
  b: AnyTensor,
  options?: RowsOptions<Out> & OnEngine,
): Promise<RowsResult<Data, Out>> {
  const result = await compute(
    "add",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readPointwise(sumOf(a, b), given),
  );
  return result as RowsResult<Data, Out>;
}

/**
 * As {@linkcode add}, and there when it returns: see {@linkcode layerNormSync}.
 *
 * @param a Any shape, storage and strides.
 * @param b The same shape.
 * @param options As those of {@linkcode add}, with `engine`.
 * @returns The same.
 * @throws As {@linkcode add} rejects; an `Error` where its kernels are not loaded yet.
 */
export function addSync<
  Data extends TensorData,
  Out extends AnyTensor | undefined = undefined,
>(
  a: Tensor<Data>,
  b: AnyTensor,
  options: RowsOptions<Out> & OnEngine,
): RowsResult<Data, Out> {
  const result = computeSync(
    "add",
    rowsNames,
    options as RowsOptions & OnEngine,
    (given: RowsOptions) => readPointwise(sumOf(a, b), given),
  );
  return result as RowsResult<Data, Out>;
}
