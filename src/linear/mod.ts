/**
 * The rest of the family: attention in linear time, and convolutions that stand in its place.
 *
 * @module
 */

import { provideRunners } from "./runners.ts";

export {
  type ConvolutionGradients,
  type ConvolutionWithGradient,
  dynamicConvolution,
  dynamicConvolutionWithGradient,
  lightweightConvolution,
  lightweightConvolutionWithGradient,
} from "./convolution.ts";
export {
  createDynamicConvolutionState,
  createLightweightConvolutionState,
  type DecodingState,
  type DynamicConvolutionState,
  type LightweightConvolutionState,
} from "./convolution_state.ts";
export type {
  ConvolutionGradientOptions,
  ConvolutionOptions,
  ConvolutionPassOptions,
  ConvolutionStateOptions,
  ConvolutionStepOptions,
} from "../operations/convolution/options.ts";
export {
  createPerformerState,
  performerAttention,
  performerAttentionWithGradient,
  performerProjection,
  type PerformerState,
} from "./performer.ts";
export type {
  PerformerGradients,
  PerformerWithGradient,
} from "../operations/performer/backward.ts";
export type {
  PerformerFeatures,
  PerformerGradientOptions,
  PerformerKernel,
  PerformerOptions,
  PerformerPassOptions,
  PerformerProjectionOptions,
  PerformerStepOptions,
} from "../operations/performer/options.ts";
export {
  linformerAttention,
  type LinformerAttentionGradients,
  type LinformerAttentionWithGradient,
  linformerAttentionWithGradient,
  type LinformerOptions,
} from "./linformer.ts";
export {
  localGlobalAttention,
  type LocalGlobalAttentionGradients,
  type LocalGlobalAttentionWithGradient,
  localGlobalAttentionWithGradient,
  type LocalGlobalOptions,
} from "./local_global.ts";
export type { AttendingOptions } from "../operations/linear/attending.ts";
export {
  createLocalGlobalState,
  type LocalGlobalState,
  type LocalGlobalStateOptions,
  type LocalGlobalStepOptions,
} from "./local_global_state.ts";

provideRunners();
