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

export { alibiSlopes } from "./src/alibi.ts";
export type {
  Asking,
  AttentionResult,
  AttentionResultInto,
  AttentionResultWithLse,
  LseData,
  OwnData,
  ResultOf,
} from "./src/attention.ts";
export type { BackendName, EngineTensor } from "./src/backend.ts";
export type {
  AttentionGradients,
  AttentionWithGradient,
  BackwardOptions,
  BackwardPassOptions,
  GradientOptions,
} from "./src/backward.ts";
export {
  type Availability,
  type Capabilities,
  capabilities,
  type CapabilityOptions,
} from "./src/capabilities.ts";
export type { AttentionRest, KvCache } from "./src/cache/kv_cache.ts";
export type {
  AppendOptions,
  CacheAttentionOptions,
  Kept,
  KvCacheOptions,
} from "./src/cache/options.ts";
export type { CascadeOptions, CascadePart } from "./src/cascade.ts";
export type { CacheDType } from "./src/cache/store.ts";
export {
  attention,
  attentionBackward,
  attentionWithGradient,
  mergeAttention,
} from "./src/default_engine.ts";
export type { DType, HostData, TensorData } from "./src/dtype.ts";
export {
  createEngine,
  type Engine,
  type EngineOptions,
  type MemoryFor,
  type MemoryOf,
  type WarmupOptions,
} from "./src/engine.ts";
export { BackendUnavailableError, DeviceLostError } from "./src/errors.ts";
export type { BlockMask, PlainBlockMask } from "./src/block_mask.ts";
export type { AttentionPart, MergeOptions } from "./src/merge.ts";
export type {
  AttentionOptions,
  BooleanDType,
  BooleanTensor,
  Causal,
  Layout,
  Progress,
  SignalLike,
} from "./src/options.ts";
export * as blockMask from "./src/patterns/mod.ts";
export type { BlockMaskSize } from "./src/patterns/size.ts";
export type { RopeOptions, RopeScaling } from "./src/rope.ts";
export {
  type AnyTensor,
  type HostTensor,
  type NumberList,
  type NumberTensor,
  type Tensor,
  tensor,
  type TypedNumbers,
} from "./src/tensor.ts";
export type { BinaryName } from "./src/wasm/module.ts";
