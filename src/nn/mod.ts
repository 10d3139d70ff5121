/**
 * What stands between attention calls: linear layers, norms, activations, embeddings, and ids of logits; for training
 * with their gradients (`linearWithGradient()` and its like).
 *
 * ```ts
 * import { createEngine, tensor } from "@flashtile/attention";
 * import { layerNorm, linear, packLinear } from "@flashtile/attention/nn";
 *
 * const engine = await createEngine({ backend: "wasm" });
 * const weight = await packLinear(tensor(new Float32Array(64 * 32), [64, 32]), { engine });
 * const x = engine.tensor([10, 32]); // in the engine's memory: nothing is copied
 * const { out } = await layerNorm(x, null, null, { engine, out: x });
 * const result = await linear(out, weight, { activation: "gelu" });
 * console.log(result.out.shape); // [10, 64]
 * await engine.close();
 * ```
 *
 * They run where their engine does. On a GPU tensors are arrays or `GPUBuffer`s, in any mixture, and ids of logits are chosen
 * on the CPU.
 *
 * @module
 */

import { provideRunners } from "./runners.ts";

export { linear, linearSync, packLinear } from "./linear.ts";
export {
  type GivenTo,
  layerNorm,
  layerNormSync,
  type NormResult,
  rmsNorm,
  rmsNormSync,
} from "./norms.ts";
export {
  add,
  addSync,
  gated,
  gatedSync,
  gelu,
  geluSync,
  relu,
  reluSync,
  silu,
  siluSync,
  tanh,
  tanhSync,
} from "./pointwise.ts";
export { embedding, embeddingSync, meanRows, meanRowsSync, type TableData } from "./embedding.ts";
export {
  type AddGradients,
  addWithGradient,
  type EmbeddingGradients,
  embeddingWithGradient,
  type GatedGradients,
  gatedWithGradient,
  geluWithGradient,
  layerNormWithGradient,
  type LayerWithGradient,
  type LinearGradients,
  linearWithGradient,
  meanRowsWithGradient,
  type NormGradients,
  type NormWithGradient,
  reluWithGradient,
  rmsNormWithGradient,
  type RowGradients,
  siluWithGradient,
  tanhWithGradient,
} from "./gradients.ts";
export { argmax, argmaxSync, sample, sampleSync } from "./sampling.ts";
export type {
  Activation,
  BlockDType,
  BlockWeight,
  EmbeddingOptions,
  GatedOptions,
  GeluOptions,
  LayerNormOptions,
  LinearDType,
  LinearOptions,
  LinearPrecision,
  NormOptions,
  PackLinearOptions,
  RmsNormOptions,
  RowsOptions,
  SampleOptions,
} from "../operations/nn/options.ts";
export type {
  EmbeddingGradientOptions,
  FloatTensor,
  GatedGradientOptions,
  GeluGradientOptions,
  LayerGradientOptions,
  LayerNormGradientOptions,
  LayerPassOptions,
  LinearGradientOptions,
  NormPassOptions,
  OwnFloatTensor,
  RmsNormGradientOptions,
} from "../operations/nn/backward/options.ts";
export type { PackedLinear } from "../operations/nn/packed.ts";

provideRunners();
