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

export { alibiSlopes } from "./src/operations/attention/alibi.ts";
export type {
  Asking,
  AttentionResult,
  AttentionResultInto,
  AttentionResultWithLse,
  LseData,
  OwnData,
  ResultOf,
} from "./src/operations/attention/run.ts";
export type { BackendName, EngineTensor } from "./src/contract/backend.ts";
export type {
  AttentionGradients,
  AttentionWithGradient,
  BackwardOptions,
  BackwardPassOptions,
  GradientOptions,
} from "./src/operations/backward/run.ts";
export { capabilities } from "./src/engine/capabilities.ts";
export {
  type Availability,
  type Capabilities,
  type CapabilityOptions,
} from "./src/contract/capabilities.ts";
export type { AttentionRest, KvCache } from "./src/cache/kv_cache.ts";
export type { AppendOptions, Kept, KvCacheOptions } from "./src/cache/options.ts";
export type { CacheAttentionOptions } from "./src/operations/attention/options.ts";
export type { CascadeOptions, CascadePart } from "./src/cache/cascade.ts";
export type { CacheDType } from "./src/contract/pages.ts";
export {
  attention,
  attentionBackward,
  attentionWithGradient,
  mergeAttention,
} from "./src/functions/attention.ts";
export type { DType, HostData, TensorData } from "./src/tensor/dtype.ts";
export {
  createEngine,
  type Engine,
  type EngineOptions,
  type MemoryFor,
  type MemoryOf,
  type WarmupOptions,
} from "./src/engine/engine.ts";
export { BackendUnavailableError, DeviceLostError } from "./src/check/errors.ts";
export type { BlockMask, PlainBlockMask } from "./src/masks/block_mask.ts";
export type { AttentionPart, MergeOptions } from "./src/operations/merge/run.ts";
export type { AttentionOptions, Causal } from "./src/operations/attention/options.ts";
export type { BooleanDType, BooleanTensor, Layout } from "./src/tensor/tensor.ts";
export type { Progress } from "./src/contract/backend.ts";
export type { SignalLike } from "./src/check/errors.ts";
export * as blockMask from "./src/masks/patterns/mod.ts";
export type { BlockMaskSize } from "./src/masks/patterns/size.ts";
export type { RopeOptions, RopeScaling } from "./src/operations/rope/run.ts";
export {
  type AnyTensor,
  type HostTensor,
  type NumberList,
  type NumberTensor,
  type Tensor,
  tensor,
  type TypedNumbers,
} from "./src/tensor/tensor.ts";
export type { BinaryName } from "./src/contract/capabilities.ts";
