/**
 * A user's program for the compiler alone: what it infers of results.
 *
 * @module
 */

import {
  type AnyTensor,
  attention,
  attentionWithGradient,
  blockMask,
  createEngine,
  type EngineOptions,
  tensor,
  type TensorData,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";

/** Holds for equal types alone. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true
  : false;

/** Fails to compile where the two types differ. */
function expectType<Expected>() {
  return <Given>(_given: Given, ..._equal: Same<Expected, Given> extends true ? [] : [never]) => {};
}

/** Everything that the compiler looks at. Nobody calls it. */
export async function typed(buffer: GPUBuffer, half: Float16Array, device: GPUDevice) {
  const data: Float32Array = new Float32Array(64);
  const q = tensor(data, [1, 1, 64]);
  const plain = await attention(q, q, q, { lse: true, signal: new AbortController().signal });
  expectType<Float32Array<ArrayBuffer>>()(plain.out.data);
  expectType<Float32Array<ArrayBuffer>>()(plain.lse.data);

  new Blob([plain.out.data, plain.lse.data]);

  const onGpu = { data: buffer, shape: [1, 1, 64], dtype: "f16" } as const;
  const there = await attention(onGpu, onGpu, onGpu, { lse: true });
  expectType<GPUBuffer>()(there.out.data);
  expectType<GPUBuffer>()(there.lse.data);

  const narrow = await attention(tensor(half, [1, 1, 64]), q, q, { lse: true });
  expectType<Float16Array<ArrayBuffer>>()(narrow.out.data);
  expectType<Float32Array<ArrayBuffer>>()(narrow.lse.data);

  const { dq, backward } = { dq: q, ...await attentionWithGradient(q, onGpu, q) };
  expectType<Float32Array<ArrayBuffer>>()((await backward(dq)).dq.data);
  expectType<GPUBuffer>()((await backward(dq)).dk.data);

  const options: EngineOptions = { backend: "webgpu", device };
  await using engine = await createEngine(options);
  using cache = engine.kvCache({ kvHeads: 1, headDim: 64 });
  expectType<Float32Array<ArrayBuffer>>()((await cache.attend(q)).out.data);
  expectType<"wasm" | "webgpu">()(engine.backend);
  const onlyGpu = await createEngine({ backend: "webgpu" });
  expectType<GPUBuffer>()(onlyGpu.tensor([4]).data);
  expectType<Float32Array>()(engine.tensor([4]).data);

  const mask = blockMask.causal({ queries: 64 });
  expectType<number>()(mask.and(blockMask.causal({ queries: 64 })).visited);
  expectType<Float64Array<ArrayBuffer>>()(referenceAttention(q, q, q).out.data);
}

/** What is refused. */
export async function refused(q: AnyTensor) {
  // @ts-expect-error: doubles are no elements of a tensor.
  tensor(new Float64Array(64), [1, 1, 64]);
  // @ts-expect-error: a misspelt option.
  await attention(q, q, q, { casual: true });
  // @ts-expect-error: an array is no device.
  await createEngine({ device: new Float32Array(1) });
  // @ts-expect-error: a number is no data.
  const data: TensorData = 1;
  return data;
}
