/**
 * A user's program for the compiler alone, with neither the DOM's types nor Node's: what options may be.
 *
 * @module
 */

import {
  alibiSlopes,
  type AnyTensor,
  type AppendOptions,
  attention,
  attentionBackward,
  type AttentionOptions,
  type AttentionResult,
  attentionStream,
  attentionWithGradient,
  type BackwardOptions,
  type BackwardPassOptions,
  type BlockMask,
  blockMask,
  type BlockMaskSize,
  type BooleanTensor,
  type CacheAttentionOptions,
  type CapabilityOptions,
  type CascadeOptions,
  createEngine,
  type Engine,
  type EngineOptions,
  type GradientOptions,
  type KvCache,
  type KvCacheOptions,
  mergeAttention,
  type MergeOptions,
  type NumberTensor,
  type RopeOptions,
  type RopeScaling,
  type SignalLike,
  type Tensor,
  tensor,
  type WarmupOptions,
} from "@flashtile/attention";
import {
  referenceAttention,
  type ReferenceBackwardOptions,
  type ReferenceTensor,
} from "@flashtile/attention/reference";

/** A type whose every optional property is `undefined` where it is not given. */
type Filled<Options> = Options extends unknown ? {
    [Name in keyof Options]: Record<never, never> extends Pick<Options, Name>
      ? Options[Name] | undefined
      : Options[Name];
  }
  : never;

/** Compiles where options may be filled so, which `exactOptionalPropertyTypes` tells from left out. */
function takesUndefined<Options>() {
  return <Given extends Filled<Options> = Filled<Options>>(
    ..._it: [Given] extends [Options] ? [] : [never]
  ) => {};
}

/** Every type of options. */
export function undefinedIsNotGiven() {
  takesUndefined<AttentionOptions>()();
  takesUndefined<GradientOptions>()();
  takesUndefined<BackwardOptions>()();
  takesUndefined<BackwardPassOptions>()();
  takesUndefined<CacheAttentionOptions>()();
  takesUndefined<AppendOptions>()();
  takesUndefined<KvCacheOptions>()();
  takesUndefined<CascadeOptions>()();
  takesUndefined<EngineOptions>()();
  takesUndefined<WarmupOptions>()();
  takesUndefined<CapabilityOptions>()();
  takesUndefined<RopeOptions>()();
  takesUndefined<RopeScaling>()();
  takesUndefined<MergeOptions>()();
  takesUndefined<BlockMaskSize>()();
  takesUndefined<blockMask.BigBirdPattern>()();
  takesUndefined<blockMask.LongformerPattern>()();
  takesUndefined<blockMask.DilatedPattern>()();
  takesUndefined<Parameters<typeof blockMask.document>[1]>()();
  takesUndefined<Parameters<typeof blockMask.fromDense>[1]>()();
  takesUndefined<Parameters<typeof blockMask.fromFunction>[1]>()();
  takesUndefined<AnyTensor>()();
  takesUndefined<NumberTensor>()();
  takesUndefined<BooleanTensor>()();
  takesUndefined<ReferenceTensor>()();
  takesUndefined<ReferenceBackwardOptions>()();
}

/** Options that nobody wrote down in the call itself. */
export async function optionsInVariables(
  engine: Engine,
  cache: KvCache,
  q: Tensor,
  given: AttentionOptions,
) {
  const options = { window: [3, 0], offset: [1], softcap: 30, alibi: [0.5], signal: null };
  const cached = { window: [3, 0], lengths: [1], signal: null };
  const { out } = await attention(q, q, q, options);
  await attention(q, cache, cached);
  await engine.attention(q, q, q, options);
  await engine.attention(q, cache, cached);
  engine.attentionSync(q, q, q, options);
  await cache.attend(q, cached);
  cache.attendSync(q, cached);
  await engine.cascadeAttention(q, cache, cache, { signal: null });
  const kept = await attentionWithGradient(q, q, q, options);
  await kept.backward(out, { signal: null });
  await attentionBackward(out, q, q, q, { ...options, out, lse: kept.lse });
  const stream = attentionStream(q, options);
  await stream.push(q, q);
  const { lse: ofStream }: { lse: Tensor<Float32Array<ArrayBuffer>> } = await stream.finish();
  const size = { queries: 64, block: [16, 16] }, window = [3, 0];
  const mask: BlockMask = blockMask.window(window, size);

  // What is not known when it is compiled may be there, or not.
  const wrapped = async (): Promise<AttentionResult> => await attention(q, q, q, given);
  const lse: Tensor<Float32Array<ArrayBuffer>> | undefined = (await wrapped()).lse;
  return { mask, lse, ofStream };
}

/** Short lists of numbers in all their forms. */
export async function lists(engine: Engine, cache: KvCache, q: Tensor) {
  const wide = BigInt64Array.of(1n), whole = { data: Int32Array.of(0, 4), shape: [2] };
  const cuSeqlens = [[0, 4], Int32Array.of(0, 4), whole, { q: whole, k: [0, 4] }];
  for (const one of cuSeqlens) await attention(q, q, q, { cuSeqlens: one });
  const half = { data: new Uint16Array(1), shape: [1], dtype: "f16" } as const;
  await attention(q, q, q, { offset: wide, kvLengths: whole, alibi: alibiSlopes(1), sinks: half });
  await engine.rope(q, null, { positions: Float64Array.of(0, 1) });
  cache.append(q, q, { lengths: Int32Array.of(1) });
  blockMask.longformer({ window: 3, global: whole }, { queries: 4 });
  return [engine.tensor(Int32Array.of(1, 4)), tensor(new Float32Array(4), Uint32Array.of(1, 4))];
}

/** Arrays that the library makes are over buffers that nobody shares. */
export async function ownBuffers(engine: Engine, shared: Tensor<Float32Array<SharedArrayBuffer>>) {
  const { out, lse } = await engine.attention(shared, shared, shared, { lse: true });
  const merged = await mergeAttention([{ out, lse }]);
  const { dq, backward } = {
    ...await engine.attentionBackward(out, shared, shared, shared, { out, lse }),
    ...await engine.attentionWithGradient(shared, shared, shared),
  };
  const arrays: Float32Array<ArrayBuffer>[] = [
    ...[
      out.data,
      lse.data,
      merged.out.data,
      merged.lse.data,
      dq.data,
      (await backward(out)).dk.data,
    ],
    ...[alibiSlopes(8).data, engine.attentionSync(shared, shared, shared).out.data],
  ];
  const bits: Uint32Array<ArrayBuffer> = blockMask.causal({ queries: 4 }).starts;
  const doubles: Float64Array<ArrayBuffer> = referenceAttention(shared, shared, shared).out.data;

  // The tensor passed as `out` is the one that comes back, in whatever memory it is.
  const there = engine.tensor([4], "f16");
  const into: typeof there = (await attention(shared, shared, shared, { out: there })).out;
  // @ts-expect-error: an engine's memory may be shared.
  const own: Float32Array<ArrayBuffer> = engine.tensor([4]).data;
  return { arrays, bits, doubles, into, own };
}

/** What is refused, each by a message about what is wrong in it. */
export async function refusals(q: Tensor, cache: KvCache, signal: SignalLike) {
  // @ts-expect-error: a misspelt option beside a right one.
  await attention(q, q, q, { causal: true, sofcap: 30, signal });
  // @ts-expect-error: an option that caches know by themselves.
  await attention(q, cache, { causal: true, kvLengths: [1] });
  // @ts-expect-error: no values.
  await attention(q, q);
  // @ts-expect-error: no such backend.
  await createEngine({ backend: "cuda" });
  const options = { causal: "top-lft" };
  // @ts-expect-error: no such corner.
  await attention(q, q, q, options);
  const { lse } = await attention(q, q, q, { lse: false });
  // @ts-expect-error: it was not asked for.
  return lse.data;
}
