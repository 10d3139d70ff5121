/**
 * What the layers between attention calls can be asked.
 *
 * @module
 */

import type { SignalLike } from "../../check/errors.ts";
import type { DType } from "../../tensor/dtype.ts";
import type { AnyTensor } from "../../tensor/tensor.ts";

/** What the messages of a function begin with. */
export function cannotOf(name: string): string {
  return `Cannot compute \`${name}()\``;
}

/**
 * A function of one number: `"gelu"` is `x / 2 (1 + erf(x / sqrt 2))`, `"gelu-tanh"` its approximation
 * `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))` (Hendrycks and Gimpel, arXiv 1606.08415), `"silu"` is
 * `x / (1 + exp(-x))`, `"relu"` `max(x, 0)`.
 */
export type Activation = "gelu" | "gelu-tanh" | "silu" | "relu" | "tanh";

/** All of them, as messages list them. */
export const activations: readonly Activation[] = ["gelu", "gelu-tanh", "silu", "relu", "tanh"];

/**
 * How a packed weight is stored: as floats; as integers of 16 bits with a scale per output, which is as right as f32 for
 * every purpose; or as bytes with a scale per 32 of a row, as GGUF's Q8_0 has them.
 */
export type LinearDType = DType | "int16" | "int8";

/** All of them, as messages list them. */
export const linearDTypes: readonly LinearDType[] = ["f32", "f16", "bf16", "int16", "int8"];

/**
 * How products are formed: in f32; by integers of 16 bits, for which rows become integers too (each by a factor of its
 * own: an error of some 1e-4 of a row's norm); or by bytes, seven bits with a scale and a least value per 32.
 */
export type LinearPrecision = "f32" | "int16" | "int8";

/** All of them, as messages list them. */
export const linearPrecisions: readonly LinearPrecision[] = ["f32", "int16", "int8"];

/** Blocks of 32 of a row as GGUF has them: a scale in f16, then 32 bytes, or 16 with two numbers of four bits each. */
export type BlockDType = "q8_0" | "q4_0";

/** All of them, as messages list them. */
export const blockDTypes: readonly BlockDType[] = ["q8_0", "q4_0"];

/** A weight in blocks, as it lies in a GGUF file: row after row. */
export interface BlockWeight {
  /** The bytes, `outputs * inputs / 32` times 34 (`"q8_0"`) or 18 (`"q4_0"`). */
  readonly data: Uint8Array;
  /** `[outputs, inputs]`, `inputs` being a multiple of 32. */
  readonly shape: readonly number[];
  /** Which blocks these are. */
  readonly dtype: BlockDType;
}

/** Options of `packLinear()`. */
export interface PackLinearOptions {
  /** How the weight is kept; by default as it is given, of blocks `"int8"`. */
  readonly dtype?: LinearDType | undefined;
  /**
   * Which axis is which: `"out-in"` is `[outputs, inputs]`, as PyTorch's `nn.Linear` has it and the default, `"in-out"`
   * is `[inputs, outputs]`, as GPT-2's files have it.
   */
  readonly layout?: "out-in" | "in-out" | undefined;
  /** Ends the call, which then rejects with `signal.reason`. */
  readonly signal?: SignalLike | null | undefined;
}

/** Its options, by name. */
export const packNames = [
  "dtype",
  "layout",
  "signal",
] as const satisfies readonly (keyof PackLinearOptions)[];

/** What every function here can be asked. */
export interface RowsOptions<Out extends AnyTensor | undefined = AnyTensor | undefined> {
  /**
   * Where the result goes, of any storage; by default a tensor of its own. It may be one of the inputs, or share
   * elements with them; on a GPU functions of each number and norms may write over an input, `linear()` over its residual.
   */
  readonly out?: Out | undefined;
  /** Ends the call, which then rejects with `signal.reason`. */
  readonly signal?: SignalLike | null | undefined;
}

/** Its options, by name. */
export const rowsNames = ["out", "signal"] as const satisfies readonly (keyof RowsOptions)[];

/** Options of `linear()`. */
export interface LinearOptions<Out extends AnyTensor | undefined = AnyTensor | undefined>
  extends RowsOptions<Out> {
  /** `[outputs]`, added before the activation. */
  readonly bias?: AnyTensor | undefined;
  /** What becomes of each number, before the residual is added; nothing by default. */
  readonly activation?: Activation | undefined;
  /** Added behind everything else, in the shape of the result. */
  readonly residual?: AnyTensor | undefined;
  /**
   * How products are formed, `"f32"` by default; `"int16"` needs a weight packed as `"int16"` or `"int8"`, and `"int8"`
   * one packed as `"int8"`.
   */
  readonly precision?: LinearPrecision | undefined;
}

/** Its options, by name. */
export const linearNames = [
  "bias",
  "activation",
  "residual",
  "precision",
  ...rowsNames,
] as const satisfies readonly (keyof LinearOptions)[];

/** What norms can be asked. */
export interface NormOptions<Out extends AnyTensor | undefined = AnyTensor | undefined>
  extends RowsOptions<Out> {
  /** Added to the mean of squares; at least 0, 1e-5 by default. */
  readonly eps?: number | undefined;
  /** Added to `x` before, in its shape; the sum is given back. */
  readonly residual?: AnyTensor | undefined;
  /** Where the sum goes, of any storage; by default a tensor of its own. It may be `x` or `residual`. */
  readonly sum?: AnyTensor | undefined;
}

/** Options of `layerNorm()`. */
export type LayerNormOptions<Out extends AnyTensor | undefined = AnyTensor | undefined> =
  NormOptions<Out>;

/** Its options, by name. */
export const layerNormNames = [
  "eps",
  "residual",
  "sum",
  ...rowsNames,
] as const satisfies readonly (keyof LayerNormOptions)[];

/** Options of `rmsNorm()`. */
export interface RmsNormOptions<Out extends AnyTensor | undefined = AnyTensor | undefined>
  extends NormOptions<Out> {
  /** Added to the weight, 0 by default: Gemma's norms are stored less 1, `offset: 1`. */
  readonly offset?: number | undefined;
}

/** Its options, by name. */
export const rmsNormNames = [
  "offset",
  ...layerNormNames,
] as const satisfies readonly (keyof RmsNormOptions)[];

/** Options of `gelu()`. */
export interface GeluOptions<Out extends AnyTensor | undefined = AnyTensor | undefined>
  extends RowsOptions<Out> {
  /** `"tanh"` takes the approximation; `"none"`, the default, the error function. */
  readonly approximate?: "none" | "tanh" | undefined;
}

/** Its options, by name. */
export const geluNames = [
  "approximate",
  ...rowsNames,
] as const satisfies readonly (keyof GeluOptions)[];

/** Options of `gated()`. */
export interface GatedOptions<Out extends AnyTensor | undefined = AnyTensor | undefined>
  extends RowsOptions<Out> {
  /** What becomes of the gate, `"silu"` by default (SwiGLU). */
  readonly activation?: Activation | undefined;
}

/** Its options, by name. */
export const gatedNames = [
  "activation",
  ...rowsNames,
] as const satisfies readonly (keyof GatedOptions)[];

/** Options of `embedding()`. */
export interface EmbeddingOptions<Out extends AnyTensor | undefined = AnyTensor | undefined>
  extends RowsOptions<Out> {
  /** What rows are multiplied by: finite, 1 by default. */
  readonly scale?: number | undefined;
}

/** Its options, by name. */
export const embeddingNames = [
  "scale",
  ...rowsNames,
] as const satisfies readonly (keyof EmbeddingOptions)[];

/** Options of `sample()`. */
export interface SampleOptions {
  /** What logits are divided by: above 0, 1 by default; 0 takes the greatest, as `argmax()` does. */
  readonly temperature?: number | undefined;
  /** How many of the greatest are kept; all by default. */
  readonly topK?: number | undefined;
  /** The least number of the likeliest that have this much together, above 0 and at most 1, the default (Holtzman et al., arXiv 1904.09751). */
  readonly topP?: number | undefined;
  /** Ids less likely than this times the likeliest are left out; 0 by default, below 1 (Nguyen et al., arXiv 2407.01082). */
  readonly minP?: number | undefined;
  /** A whole number: the same seed, the same ids; by default another one each time. */
  readonly seed?: number | undefined;
}

/** Its options, by name. */
export const sampleNames = [
  "temperature",
  "topK",
  "topP",
  "minP",
  "seed",
] as const satisfies readonly (keyof SampleOptions)[];
