/**
 * FlashTile: exact FlashAttention for Deno, Bun, Node, edge runtimes and browsers.
 *
 * ```ts
 * import { attention, tensor } from "@flashtile/attention";
 *
 * const q = tensor(new Float32Array(8 * 16 * 64), [8, 16, 64]); // [heads, queries, D]
 * const kv = tensor(new Float32Array(2 * 100 * 64), [2, 100, 64]); // grouped: 2 heads serve 8
 * const { out } = await attention(q, kv, kv, { causal: true });
 * console.log(out.shape); // [8, 16, 64]
 * ```
 *
 * @module
 */

export type { CascadeOptions, CascadePart } from "./src/cache/cascade.ts";
export type { AttentionRest, KvCache } from "./src/cache/kv_cache.ts";
export type { LayeredKvCache } from "./src/cache/layers.ts";
export type {
  AppendOptions,
  Kept,
  KvCacheOptions,
  LayeredKvCacheOptions,
} from "./src/cache/options.ts";
export type { StepOptions } from "./src/cache/step.ts";
export { BackendUnavailableError, DeviceLostError, type SignalLike } from "./src/check/errors.ts";
export type { BackendName, EngineTensor, Progress } from "./src/contract/backend.ts";
export type {
  Availability,
  BinaryName,
  Capabilities,
  CapabilityOptions,
} from "./src/contract/capabilities.ts";
export type { CacheDType } from "./src/contract/pages.ts";
export { capabilities } from "./src/engine/capabilities.ts";
export {
  createEngine,
  type Engine,
  type EngineOptions,
  type MemoryFor,
  type MemoryOf,
  type WarmupOptions,
} from "./src/engine/engine.ts";
export {
  attention,
  attentionBackward,
  attentionStream,
  attentionWithGradient,
  cascadeAttention,
  mergeAttention,
  rope,
} from "./src/functions/attention.ts";
export type { OnEngine } from "./src/functions/default_engine.ts";
export {
  logSoftmax,
  logSoftmaxWithGradient,
  logSumExp,
  logSumExpWithGradient,
  type RowsResult,
  type RowsWithGradient,
  softmax,
  softmaxWithGradient,
} from "./src/functions/softmax.ts";
export { attentionWeights } from "./src/functions/weights.ts";
export type { BlockMask } from "./src/masks/block_mask.ts";
export type { PlainBlockMask } from "./src/masks/blocks.ts";
export * as blockMask from "./src/masks/patterns/mod.ts";
export type { BlockMaskSize } from "./src/masks/patterns/size.ts";
export { alibiSlopes } from "./src/operations/attention/alibi.ts";
export type {
  AttentionOptions,
  CacheAttentionOptions,
  Causal,
  Precision,
} from "./src/operations/attention/options.ts";
export type {
  Asking,
  AttentionResult,
  AttentionResultInto,
  AttentionResultWithLse,
  LseData,
  OwnData,
  ResultOf,
} from "./src/operations/attention/result.ts";
export type {
  AttentionGradients,
  AttentionWithGradient,
  BackwardOptions,
  BackwardPassOptions,
  GradientOptions,
} from "./src/operations/backward/plan.ts";
export type { AttentionPart, MergeOptions } from "./src/operations/merge/operation.ts";
export type {
  PassOptions,
  SoftmaxGradientOptions,
  SoftmaxOptions,
} from "./src/operations/softmax/options.ts";
export { type RopeConfigOptions, ropeOptions } from "./src/operations/rope/config.ts";
export type { RopeOptions, RopeScaling } from "./src/operations/rope/options.ts";
export type { AttentionStream, StreamOptions } from "./src/operations/stream/options.ts";
export type {
  AttentionKeySums,
  AttentionWeights,
  KeySums,
  WeightsOptions,
  WeightsResult,
} from "./src/operations/weights/options.ts";
export { type Captured, captured, type CapturedOptions } from "./src/scores/captured.ts";
export type {
  CapturedArray,
  CapturedData,
  CapturedDType,
  Condition,
  MaskMod,
  Numeric,
  Place,
  Score,
  ScoreFunctions,
  ScoreMod,
  Whole,
} from "./src/scores/kinds.ts";
export { where } from "./src/scores/where.ts";
export type { DType, HostData, TensorData } from "./src/tensor/dtype.ts";
export type { NestedBooleans, NestedNumbers } from "./src/tensor/nested.ts";
export {
  type AnyTensor,
  type BooleanDType,
  type BooleanTensor,
  type HostTensor,
  type Layout,
  type NumberList,
  type NumberTensor,
  type Tensor,
  tensor,
  type TypedNumbers,
} from "./src/tensor/tensor.ts";
