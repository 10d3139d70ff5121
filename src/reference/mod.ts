/**
 * The oracle: attention, its relatives in linear time and their gradients by the direct formula, in
 * float64, without tiles. Slow, holds one row of scores, and is written to be read beside
 * `docs/SEMANTICS.md`; everything else is measured against it. It shares no code with the backends, and
 * reads the options by itself instead of the plan.
 *
 * @module
 */

export { referenceAttention, type ReferenceResult } from "./forward.ts";
export {
  type CapturedGradients,
  referenceAttentionBackward,
  type ReferenceBackwardOptions,
  type ReferenceGradients,
} from "./backward.ts";
export {
  referenceLogSoftmax,
  referenceLogSoftmaxBackward,
  referenceLogSumExp,
  referenceLogSumExpBackward,
  type ReferenceOutput,
  referenceSoftmax,
  referenceSoftmaxBackward,
  type ReferenceSoftmaxGradient,
  type ReferenceSoftmaxOptions,
} from "./softmax.ts";
export {
  referenceLinformerAttention,
  referenceLinformerAttentionBackward,
  type ReferenceLinformerBackwardOptions,
  type ReferenceLinformerGradients,
  type ReferenceLinformerOptions,
} from "./linformer.ts";
export {
  referencePerformerAttention,
  referencePerformerAttentionBackward,
  type ReferencePerformerGradients,
  type ReferencePerformerOptions,
} from "./performer.ts";
export {
  type ReferenceConvolutionGradients,
  type ReferenceConvolutionOptions,
  referenceDynamicConvolution,
  referenceDynamicConvolutionBackward,
  referenceLightweightConvolution,
  referenceLightweightConvolutionBackward,
} from "./convolution.ts";
export {
  referenceLocalGlobalAttention,
  referenceLocalGlobalAttentionBackward,
  type ReferenceLocalGlobalBackwardOptions,
  type ReferenceLocalGlobalGradients,
  type ReferenceLocalGlobalOptions,
} from "./local_global.ts";
export { referenceRope, type ReferenceRotation, referenceRotation } from "./rope.ts";
export {
  referenceActivation,
  referenceLayerNorm,
  referenceLinear,
  type ReferenceLinearOptions,
  referenceMeanRows,
  type ReferenceNormOptions,
  referenceRmsNorm,
} from "./layers.ts";
export { referenceAttentionWeights } from "./weights.ts";
export type { ReferenceArray, ReferenceTensor } from "./tensor.ts";
