import {
  attentionBackward,
  attentionWithGradient,
  BackendUnavailableError,
} from "@flashtile/attention";
import { assertEquals, assertInstanceOf } from "@std/assert";
import { test } from "node:test";
import { readBackward } from "../../src/operations/backward/plan.ts";
import { assertRefused, type ErrorClass, errorOf, withEngine } from "../support/errors.ts";
import { refusals as forwardRefusals, right } from "../support/refusals.ts";
import { withoutSimd } from "../support/stub.ts";

/** A tensor of zeros. */
function tensor(...shape: number[]) {
  return { data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape };
}

/** What a right call has beside `q`, `k` and `v`: 2 batches, 4 query heads, 3 queries, Dv = 6. */
const results = { dOut: tensor(2, 4, 3, 6), out: tensor(2, 4, 3, 6), lse: tensor(2, 4, 3) };

/** A buffer of a GPU, by what the checks look at. */
const buffer = { size: 2 ** 20, usage: 0x80, mapAsync() {} };

/** A refused call: the arguments of a right one, or others in their place. */
interface Refusal {
  readonly what: string;
  readonly dOut?: unknown;
  readonly q?: unknown;
  readonly k?: unknown;
  readonly v?: unknown;
  /** Beside `out` and `lse`. */
  readonly options?: object;
  /** In place of all of them. */
  readonly allOptions?: unknown;
  readonly error: ErrorClass;
  readonly message: string;
}

function argumentsOf(
  { allOptions, options, ...given }: Refusal,
): Parameters<typeof attentionBackward> {
  const { dOut, q, k, v } = { ...results, ...right, ...given };
  const all = "allOptions" in given || allOptions !== undefined
    ? allOptions
    : { out: results.out, lse: results.lse, ...options };
  return [dOut, q, k, v, all] as never;
}

const refusals: readonly Refusal[] = [
  {
    what: "null as options",
    allOptions: null,
    error: TypeError,
    message:
      "Cannot differentiate: `options` must have the `out` and `lse` that attention() gave, " +
      "got null",
  },
  {
    what: "a number as options",
    allOptions: 3,
    error: TypeError,
    message:
      "Cannot differentiate: `options` must have the `out` and `lse` that attention() gave, " +
      "got 3",
  },
  {
    what: "options without out",
    options: { out: undefined },
    error: TypeError,
    message: "Cannot differentiate: `out` must be { data, shape }, got undefined",
  },
  {
    what: "options without lse",
    options: { lse: undefined },
    error: TypeError,
    message: "Cannot differentiate: `lse` must be { data, shape }, got undefined; " +
      "ask `attention()` for it with `lse: true`",
  },
  {
    what: "a bare array as lse",
    options: { lse: new Float32Array(24) },
    error: TypeError,
    message: "Cannot differentiate: `lse` must be { data, shape }, got Float32Array; " +
      "ask `attention()` for it with `lse: true`",
  },
  {
    what: "true as lse",
    options: { lse: true },
    error: TypeError,
    message: "Cannot differentiate: `lse` must be { data, shape }, got true; " +
      "ask `attention()` for it with `lse: true`",
  },
  {
    what: "null as dLse",
    options: { dLse: null },
    error: TypeError,
    message: "Cannot differentiate: `dLse` must be { data, shape }, got null",
  },
  {
    what: "a bare array as dOut",
    dOut: new Float32Array(144),
    error: TypeError,
    message: "Cannot differentiate: `dOut` is a bare Float32Array, " +
      "write { data: dOut, shape: [B, H, N, D] } with its own numbers",
  },
  {
    what: "no dOut",
    dOut: undefined,
    error: TypeError,
    message: "Cannot differentiate: `dOut` must be { data, shape }, got undefined",
  },
  {
    what: "dOut of another shape",
    dOut: tensor(2, 4, 3, 8),
    error: RangeError,
    message: "Cannot differentiate: `dOut` must have shape [2,4,3,6], got [2,4,3,8]",
  },
  {
    what: "dOut of another rank",
    dOut: tensor(8, 3, 6),
    error: RangeError,
    message: "Cannot differentiate: `dOut` must have shape [2,4,3,6], got [8,3,6]",
  },
  {
    what: "dOut that is too short",
    dOut: { ...results.dOut, offset: 1 },
    error: RangeError,
    message:
      "Cannot differentiate: `dOut` with shape [2,4,3,6], strides [72,18,6,1] and offset 1 " +
      "needs 145 elements, `data` has 144",
  },
  {
    what: "16-bit numbers without a dtype as dOut",
    dOut: { data: new Uint16Array(144), shape: [2, 4, 3, 6] },
    error: TypeError,
    message: "Cannot differentiate: `dOut.data` is a Uint16Array, so `dOut.dtype` must be " +
      '"f16" or "bf16", got undefined',
  },
  {
    what: "out of another shape",
    options: { out: tensor(2, 4, 6, 3) },
    error: RangeError,
    message: "Cannot differentiate: `out` must have shape [2,4,3,6], got [2,4,6,3]",
  },
  {
    what: "double precision as out",
    options: { out: { data: new Float64Array(144), shape: [2, 4, 3, 6] } },
    error: TypeError,
    message: "Cannot differentiate: `out.data` must be a Float32Array, Float16Array, Uint16Array " +
      "or GPUBuffer, got Float64Array, write tensor(Float32Array.from(out.data), shape)",
  },
  {
    what: "lse of another shape",
    options: { lse: tensor(2, 3, 4) },
    error: RangeError,
    message: "Cannot differentiate: `lse` must have shape [2,4,3], got [2,3,4]",
  },
  {
    what: "lse that is too short",
    options: { lse: { data: new Float32Array(23), shape: [2, 4, 3] } },
    error: RangeError,
    message: "Cannot differentiate: `lse` with shape [2,4,3,1], strides [12,3,1,1] and offset 0 " +
      "needs 24 elements, `data` has 23",
  },
  {
    what: "lse of another dtype",
    options: { lse: { data: new Uint16Array(24), shape: [2, 4, 3], dtype: "f16" } },
    error: TypeError,
    message: "Cannot differentiate: `lse` must be f32, got f16",
  },
  {
    what: "16-bit numbers without a dtype as lse",
    options: { lse: { data: new Uint16Array(24), shape: [2, 4, 3] } },
    error: TypeError,
    message: "Cannot differentiate: `lse.data` is a Uint16Array, so `lse.dtype` must be " +
      '"f16" or "bf16", got "f32"',
  },
  {
    what: "dLse of another shape",
    options: { dLse: tensor(2, 4, 3, 1) },
    error: RangeError,
    message: "Cannot differentiate: `dLse` must have shape [2,4,3], got [2,4,3,1]",
  },
  {
    what: "dLse of another dtype",
    options: { dLse: { data: new Uint16Array(24), shape: [2, 4, 3], dtype: "bf16" } },
    error: TypeError,
    message: "Cannot differentiate: `dLse` must be f32, got bf16",
  },
  {
    what: "an encoder",
    options: { encoder: {} },
    error: TypeError,
    message: "Cannot differentiate: `encoder` is for `attention()` alone",
  },
  {
    what: "out on the GPU beside arrays",
    options: { out: { data: buffer, shape: [2, 4, 3, 6], dtype: "f32" } },
    error: TypeError,
    message: "Cannot differentiate: `out` must be in an array as `q` is",
  },
  {
    what: "dOut on the GPU beside arrays",
    dOut: { data: buffer, shape: [2, 4, 3, 6], dtype: "f32" },
    error: TypeError,
    message: "Cannot differentiate: `dOut` must be in an array as `q` is",
  },
  {
    what: "arrays beside q on the GPU",
    q: { data: buffer, shape: right.q.shape, dtype: "f32" },
    error: TypeError,
    message: "Cannot differentiate: `k` must be in a GPUBuffer as `q` is",
  },
  {
    what: "lse in an array beside the GPU",
    dOut: { data: buffer, shape: [2, 4, 3, 6], dtype: "f32" },
    ...{
      q: { data: buffer, shape: right.q.shape, dtype: "f32" },
      k: { data: buffer, shape: right.k.shape, dtype: "f32" },
      v: { data: buffer, shape: right.v.shape, dtype: "f32" },
    },
    options: { out: { data: buffer, shape: [2, 4, 3, 6], dtype: "f32" } },
    error: TypeError,
    message: "Cannot differentiate: `lse` must be in a GPUBuffer as `q` is",
  },
  {
    what: "an unknown option",
    options: { casual: true } as never,
    error: TypeError,
    message:
      "Cannot differentiate: unknown option `casual`, known are causal, offset, window, chunk, " +
      "kvLengths, scale, layout, signal, onProgress, softcap, alibi, bias, mask, sinks, cuSeqlens, " +
      "packed, blockMask, precision, scoreMod, maskMod, out, lse, dLse; did you mean `causal`?",
  },
];

for (const refusal of refusals) {
  test(`readBackward() refuses ${refusal.what}`, async () => {
    await assertRefused(
      () => readBackward(...argumentsOf(refusal)),
      refusal.error,
      refusal.message,
    );
  });
}

test("readBackward() refuses what attention() refuses, with its words", async () => {
  for (const refusal of forwardRefusals) {
    const { options } = refusal;
    // Those that are no options, or of attention() alone.
    if (options !== undefined && options !== Object(options)) continue;
    if (["out", "lse", "encoder"].some((name) => name in Object(options))) continue;
    if (refusal.what === "an unknown option") continue; // It has other options.
    const given = argumentsOf({ ...refusal, options: options as object });
    // Signals are read with the options of its own.
    const message = "signal" in Object(options)
      ? refusal.message.replace("Cannot attend", "Cannot differentiate")
      : refusal.message;
    await assertRefused(() => readBackward(...given), refusal.error, message);
  }
});

test("readBackward() takes right calls of any rank, and reads lse as a column", () => {
  const { q, k, v } = right, { dOut, out, lse } = results;
  const { plan } = readBackward(dOut, q, k, v, { out, lse, dLse: lse });
  assertEquals(plan.lse.shape, [2, 4, 3, 1]);
  assertEquals(plan.lse.strides, [12, 3, 1, 1]);
  assertEquals(plan.dLse?.shape, [2, 4, 3, 1]);
  assertEquals(plan.out.shape, [2, 4, 3, 6]);
  const flat = (rows: number, width: number) => tensor(rows, width);
  const { plan: one } = readBackward(flat(3, 6), flat(3, 8), flat(5, 8), flat(5, 6), {
    ...{ out: flat(3, 6), lse: tensor(3) },
  });
  assertEquals([one.lse.shape, one.dOut.shape], [[1, 1, 3, 1], [1, 1, 3, 6]]);
  assertEquals(one.dLse, null);
});

test('readBackward() reads rows as [B, Hq, Nq] in layout "bnhd" too', () => {
  const q = tensor(2, 3, 4, 8), k = tensor(2, 5, 2, 8), v = tensor(2, 5, 2, 6);
  const dOut = tensor(2, 3, 4, 6);
  const { lse } = results;
  const { plan } = readBackward(dOut, q, k, v, { layout: "bnhd", out: dOut, lse });
  assertEquals([plan.dOut.shape, plan.dOut.strides], [[2, 4, 3, 6], [72, 6, 24, 1]]);
  assertEquals([plan.lse.shape, plan.lse.strides], [[2, 4, 3, 1], [12, 3, 1, 1]]);
});

test("readBackward() accepts any strides of what it reads", () => {
  const { q, k, v } = right, { out } = results;
  const dOut = { data: Float32Array.of(1), shape: [2, 4, 3, 6], strides: [0, 0, 0, 0] };
  const lse = { data: new Float32Array(50), shape: [2, 4, 3], strides: [1, 2, 8], offset: 3 };
  const { plan } = readBackward(dOut, q, k, v, { out, lse });
  assertEquals([plan.lse.strides, plan.lse.offset], [[1, 2, 8, 1], 3]);
  assertEquals(plan.dOut.strides, [0, 0, 0, 0]);
});

test("attentionBackward() refuses bad input before it makes its engine", async () => {
  await withoutSimd(async () => {
    for (const refusal of refusals) {
      const call = () => attentionBackward(...argumentsOf(refusal));
      await assertRefused(call, refusal.error, withEngine(refusal.message));
    }
    const { q, k, v } = right, { dOut, out, lse } = results;
    const able = await errorOf(() => attentionBackward(dOut, q, k, v, { out, lse }));
    assertInstanceOf(able, BackendUnavailableError);
    await assertRefused(
      () => attentionWithGradient(q, k, v, { scale: NaN }),
      RangeError,
      "Cannot attend: `scale` must be finite in f32, got NaN",
    );
  });
});
