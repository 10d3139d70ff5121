/**
 * The relatives of attention, as their oracles compute them: every one by its inputs and options.
 *
 * @module
 */

import * as oracle from "@flashtile/attention/reference";
import type { ReferenceArray, ReferenceTensor } from "@flashtile/attention/reference";
import vectors from "../vectors/family.json" with { type: "json" };
import { type Encoded, floatsOf } from "./encoded.ts";

/** Tensors by the names of arguments and options. */
export type Tensors = Readonly<Record<string, ReferenceTensor>>;

/** Options without tensors that have gradients. */
export type FamilyOptions = Readonly<Record<string, unknown>>;

/** Results and gradients by their names. */
export type Arrays = Readonly<Record<string, ReferenceArray>>;

/** One of the functions. */
export interface Relative {
  readonly forward: (inputs: Tensors, options: FamilyOptions) => Arrays;
  readonly backward: (inputs: Tensors, dOut: ReferenceTensor, options: FamilyOptions) => Arrays;
}

/** Of whatever arguments. */
type Oracle = (...given: never[]) => object;

/** A function of some inputs, that takes others of them among its options. */
function relative(
  forward: Oracle,
  backward: Oracle,
  names: readonly string[],
  optional: readonly string[] = [],
): Relative {
  const call = (
    oracle: Oracle,
    inputs: Tensors,
    options: FamilyOptions,
    dOut?: ReferenceTensor,
  ) => {
    const there = optional.filter((name) => inputs[name] !== undefined);
    const all = { ...options, ...Object.fromEntries(there.map((name) => [name, inputs[name]])) };
    const tensors = [...names.map((name) => inputs[name]), ...(dOut ? [dOut] : [])];
    return { ...(oracle as (...given: unknown[]) => object)(...tensors, all) } as Arrays;
  };
  return {
    forward: (inputs, options) => call(forward, inputs, options),
    backward: (inputs, dOut, options) => call(backward, inputs, options, dOut),
  };
}

/** All of them. */
export const relatives = {
  softmax: relative(oracle.referenceSoftmax, oracle.referenceSoftmaxBackward, ["x"]),
  logSoftmax: relative(oracle.referenceLogSoftmax, oracle.referenceLogSoftmaxBackward, ["x"]),
  logSumExp: relative(oracle.referenceLogSumExp, oracle.referenceLogSumExpBackward, ["x"]),
  linformer: relative(
    oracle.referenceLinformerAttention,
    oracle.referenceLinformerAttentionBackward,
    ["q", "k", "v"],
    ["projectK", "projectV"],
  ),
  performer: relative(
    oracle.referencePerformerAttention,
    oracle.referencePerformerAttentionBackward,
    ["q", "k", "v"],
    ["projection"],
  ),
  lightweightConvolution: relative(
    oracle.referenceLightweightConvolution,
    oracle.referenceLightweightConvolutionBackward,
    ["v", "weights"],
  ),
  dynamicConvolution: relative(
    oracle.referenceDynamicConvolution,
    oracle.referenceDynamicConvolutionBackward,
    ["v", "weights"],
  ),
  localGlobal: relative(
    oracle.referenceLocalGlobalAttention,
    oracle.referenceLocalGlobalAttentionBackward,
    ["q", "k", "v"],
    ["pool"],
  ),
} satisfies Readonly<Record<string, Relative>>;

/** Their names. */
export type Kind = keyof typeof relatives;

/** The name of the gradient by an input. */
export function gradientName(input: string): string {
  return input.length === 1 ? `d${input}` : `d${input[0].toUpperCase()}${input.slice(1)}`;
}

interface RawCase {
  readonly kind: Kind;
  readonly name: string;
  readonly options: FamilyOptions;
  readonly inputs: Readonly<Record<string, Encoded>>;
  readonly out: Encoded;
  readonly lse?: Encoded;
  readonly logSumExp?: Encoded;
  readonly logSoftmax?: Encoded;
  readonly dOut: Encoded;
  readonly gradients: Readonly<Record<string, Encoded>>;
}

/** A tensor of the file: contiguous f32. */
export interface VectorTensor {
  readonly data: Float32Array<ArrayBuffer>;
  readonly shape: readonly number[];
}

/** A case of `tests/vectors/family.json`, made by `generate_family.py`. */
export interface FamilyCase {
  readonly kind: Kind;
  readonly name: string;
  readonly options: FamilyOptions;
  readonly inputs: Readonly<Record<string, VectorTensor>>;
  /** `out`, and what else there is of `lse`, `logSumExp` and `logSoftmax`. */
  readonly results: Readonly<Record<string, VectorTensor>>;
  readonly dOut: VectorTensor;
  /** By the names of inputs. */
  readonly gradients: Readonly<Record<string, VectorTensor>>;
}

function decode(encoded: Encoded): VectorTensor {
  return { data: floatsOf(encoded), shape: encoded.shape };
}

function decodeAll(
  all: Readonly<Record<string, Encoded | undefined>>,
): Readonly<Record<string, VectorTensor>> {
  const there = Object.entries(all).filter(([, encoded]) => encoded !== undefined);
  return Object.fromEntries(there.map(([name, encoded]) => [name, decode(encoded!)]));
}

function caseOf(
  { kind, name, options, inputs, dOut, gradients, ...rest }: RawCase,
): FamilyCase {
  const { out, lse, logSumExp, logSoftmax } = rest;
  return {
    ...{ kind, name, options, inputs: decodeAll(inputs), dOut: decode(dOut) },
    results: decodeAll({ out, lse, logSumExp, logSoftmax }),
    gradients: decodeAll(gradients),
  };
}

/** Every case of the file. */
export const familyCases: readonly FamilyCase[] = (vectors.cases as unknown as RawCase[])
  .map(caseOf);
