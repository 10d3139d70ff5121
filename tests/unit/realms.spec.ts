/**
 * Values of other realms: of frames, of `node:vm`, of test runners that are built on it.
 *
 * @module
 */

import {
  type AnyTensor,
  attention,
  type AttentionOptions,
  attentionWithGradient,
  blockMask,
  type BlockMaskSize,
  createEngine,
  type KvCache,
  type Tensor,
  tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import vm from "node:vm";
import { chooseBinary } from "../../src/wasm/binary/choice.ts";
import { binaryBytes } from "../../src/wasm/binary/module.ts";
import { assertRefused } from "../support/errors.ts";

const realm = vm.createContext({});

/** A value of the other realm. */
// deno-lint-ignore no-explicit-any
const other = (source: string): any => vm.runInContext(`(${source})`, realm);

/** A copy of an array in the other realm. */
function othersArray(array: { constructor: unknown } & ArrayLike<number>): never {
  const { name } = array.constructor as { name: string };
  return other(`new ${name}([${Array.from(array)}])`) as never;
}

/** A copy of a tensor, of options or of lists in the other realm. */
// deno-lint-ignore no-explicit-any
function toOther(value: unknown): any {
  if (ArrayBuffer.isView(value)) return othersArray(value as unknown as Float32Array);
  if (Array.isArray(value)) return other("(...all) => all")(...value.map(toOther));
  if (typeof value !== "object" || value === null) return value;
  const object = other("{}");
  for (const [key, one] of Object.entries(value)) object[key] = toOther(one);
  return object;
}

const shape = [1, 2, 4, 8];
const x = (seed: number): Tensor =>
  tensor(Float32Array.from({ length: 64 }, (_, at) => Math.sin(at * seed)), shape);
const [q, k, v] = [x(1), x(2), x(3)];
const half: Tensor<Uint16Array> = tensor(
  Uint16Array.from({ length: 64 }, (_, at) => 0x3c00 + at),
  shape,
  "f16",
);

const isOther = !((toOther(new Float32Array(1)) as unknown) instanceof Float32Array);
const skip = isOther ? undefined : "this runtime has one realm";

const options: [string, AttentionOptions][] = [
  ["causal, lse", { causal: true, lse: true }],
  ["window, scale, softcap", { window: [2, 0], scale: 0.3, softcap: 5 }],
  ["offset, kvLengths", { offset: [1], kvLengths: [3], causal: true }],
  ["mask", { mask: { data: Uint8Array.from([1, 0, 1, 1]), shape: [1, 1, 1, 4] } }],
  ["mask in bits", { mask: { data: Uint32Array.of(0b1011), shape: [1, 1, 1, 4] } }],
  ["bias", { bias: { data: Float32Array.of(1, 2, -1, 0), shape: [1, 1, 1, 4] } }],
  ["alibi", { alibi: tensor(Float32Array.of(0.5, 0.25), [2]) }],
  ["sinks", { sinks: tensor(Float32Array.of(0.5, 0.25), [2]) }],
  ["cuSeqlens", { cuSeqlens: { q: [0, 1, 4], k: [0, 2, 4] } }],
];

for (const [name, option] of options) {
  test(`attention() takes arrays and options of another realm: ${name}`, { skip }, async () => {
    const expected = await attention(q, k, v, option);
    const got = await attention(toOther(q), toOther(k), toOther(v), toOther(option));
    assertEquals(got.out.data, expected.out.data);
    assertInstanceOf(got.out.data, Float32Array);
    const exact = referenceAttention(toOther(q), toOther(k), toOther(v), toOther(option));
    assertEquals(exact.out, referenceAttention(q, k, v, option as never).out);
  });
}

test("attention() takes 16-bit tensors, and an `out`, of another realm", { skip }, async () => {
  const expected = await attention(half, half, half);
  assertEquals(
    (await attention<Uint16Array>(toOther(half), toOther(half), half)).out.data.length,
    64,
  );
  const out = toOther({ ...half, data: new Uint16Array(64) }) as typeof half;
  const result = await attention(toOther(half), toOther(half), toOther(half), { out });
  assert(result.out === out);
  assertEquals(Array.from(out.data), Array.from(expected.out.data));
});

test("gradients, merging and rotation take arrays of another realm", { skip }, async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const expected = await attentionWithGradient(q, k, v);
  const got = await attentionWithGradient(toOther(q), toOther(k), toOther(v));
  const gradients = await got.backward(toOther(q));
  assertEquals(gradients.dk.data, (await expected.backward(q as never)).dk.data);
  const part = { out: expected.out, lse: expected.lse };
  const merged = await engine.mergeAttention<Float32Array>(toOther([part, part]));
  assertEquals(merged.lse.data.length, 8);
  const rotated = toOther(q) as Tensor;
  await engine.rope(rotated, null, toOther({ positions: [3, 4, 5, 6] }));
  assert((rotated.data as Float32Array)[0] !== (q.data as Float32Array)[0]);
  await engine.close();
});

test("caches take tokens, and what was saved, of another realm", { skip }, async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const sizes = { batch: 1, kvHeads: 2, headDim: 8 };
  const cache = engine.kvCache(toOther(sizes)), copy = engine.kvCache(sizes);
  cache.append(toOther(k), toOther(v), toOther({ lengths: [3] }));
  copy.load(toOther(await cache.save()));
  assertEquals(copy.lengths, [3]);
  assertEquals((await copy.attend(toOther(q))).out.data, (await cache.attend(q)).out.data);
  await engine.close();
});

test("block masks are made of lists and arrays of another realm", { skip }, () => {
  const size: BlockMaskSize = { queries: 4, keys: 4, block: 2 };
  const dense = { data: Uint8Array.from({ length: 16 }, (_, at) => at % 3 & 1), shape: [4, 4] };
  const { fromDense, document, longformer, fromPlain } = blockMask;
  for (
    const [got, expected] of [
      [fromDense(toOther(dense), toOther({ block: 2 })), fromDense(dense, { block: 2 })],
      [document(toOther([1, 1, 2]), toOther({})), document([1, 1, 2])],
      [
        longformer(toOther({ window: 3, global: [0] }), toOther(size)),
        longformer({ window: 3, global: [0] }, size),
      ],
      [fromPlain(toOther(blockMask.causal(size).toPlain())), blockMask.causal(size)],
    ]
  ) assertEquals(got.toPlain(), expected.toPlain());
});

test("createEngine() takes a compiled module of another realm", { skip }, async (context) => {
  const Module = other("typeof WebAssembly === 'undefined' ? undefined : WebAssembly.Module");
  if (Module === undefined || Module === WebAssembly.Module) {
    return context.skip("that realm has no WebAssembly of its own");
  }
  const engine = await createEngine({ module: new Module(binaryBytes(chooseBinary().name)) });
  assertEquals(engine.attentionSync(q, k, v).out.data, (await attention(q, k, v)).out.data);
  await engine.close();
  await assertRefused(
    () => createEngine({ module: {} as never }),
    TypeError,
    "Cannot create an engine: `module` must be a WebAssembly.Module",
  );
});

test("shared memory of another realm is seen to be shared", { skip }, async () => {
  // Two buffers of one memory cannot be told from those of two.
  const shared = other("new Float32Array(new SharedArrayBuffer(256))");
  shared.set(q.data);
  const out = { data: shared, shape }, expected = await attention(q, k, v);
  const result = await attention(out as AnyTensor, k, v, { out } as never);
  assertEquals(Array.from(result.out.data as Float32Array), Array.from(expected.out.data as never));
});

test("calls settle where `Promise` was replaced", async () => {
  const { Promise } = globalThis;
  const expected = await attention(q, k, v);
  globalThis.Promise = class extends Promise<unknown> {} as PromiseConstructor;
  try {
    assertEquals((await attention(q, k, v)).out.data, expected.out.data);
    const { backward } = await attentionWithGradient(q, k, v);
    assertEquals((await backward(q as never)).dq.shape, shape);
  } finally {
    globalThis.Promise = Promise;
  }
});

test("a cache of another copy of the library attends by itself, and is in no cascade", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  const given: unknown[] = [];
  const cache = {
    [Symbol.for("flashtile.KvCache/1")]: true,
    attend(...all: unknown[]) {
      given.push(all);
      return Promise.resolve("theirs");
    },
  } as unknown as KvCache;
  const asked = { causal: true } as const;
  assertEquals(await attention(q, cache, asked) as unknown, "theirs");
  assertEquals(await engine.attention(q, cache, asked) as unknown, "theirs");
  assertEquals(given, [[q, asked], [q, asked]]);
  await assertRefused(
    () => engine.cascadeAttention(q, cache, { k, v }),
    TypeError,
    "Cannot attend in a cascade: `prefix` is a cache of another copy of the library; " +
      "make it with an engine of this one",
  );
  await engine.close();
});
