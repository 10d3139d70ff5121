/**
 * Every call of `attention()` that is refused, with the error that it gives.
 *
 * @module
 */

import { type AnyTensor, type AttentionOptions, blockMask } from "@flashtile/attention";
import type { ErrorClass } from "./errors.ts";

/** A refused call: the tensors of a right call, or others in their place. */
export interface Refusal {
  /** What is wrong, for the name of a test. */
  readonly what: string;
  readonly q?: unknown;
  readonly k?: unknown;
  readonly v?: unknown;
  readonly options?: unknown;
  readonly error: ErrorClass;
  readonly message: string;
}

/** A tensor of ones; data longer than it needs is allowed. */
function tensor(...shape: number[]) {
  return { data: new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1), shape };
}

/** The tensors of a right call: 2 batches, 4 query heads, 2 key/value heads. */
export const right = { q: tensor(2, 4, 3, 8), k: tensor(2, 2, 5, 8), v: tensor(2, 2, 5, 6) };

/** What only looks like the half-precision arrays of newer runtimes. */
const { Float16Array: Half } = { Float16Array: class extends Int16Array {} };

const { q, k, v } = right;

/** Refusals of `Float16Array`, where there is one. */
const halfKinds: Refusal[] = typeof Float16Array === "undefined" ? [] : [
  {
    what: "half-precision numbers as bf16",
    q: { data: new Float16Array(192), shape: q.shape, dtype: "bf16" },
    error: TypeError,
    message: "Cannot attend: `q` has dtype bf16, its data is a Float16Array",
  },
  {
    what: "half-precision numbers as f32",
    v: { data: new Float16Array(120), shape: v.shape, dtype: "f32" },
    error: TypeError,
    message: "Cannot attend: `v` has dtype f32, its data is a Float16Array",
  },
];

const kinds: Refusal[] = [
  {
    what: "q without data",
    q: {},
    error: TypeError,
    message:
      "Cannot attend: `q.data` must be a Float32Array, Float16Array, Uint16Array or GPUBuffer, " +
      "got undefined",
  },
  {
    what: "a missing tensor",
    k: undefined,
    error: TypeError,
    message: "Cannot attend: `k` must be { data, shape }, got undefined",
  },
  {
    what: "null as a tensor",
    v: null,
    error: TypeError,
    message: "Cannot attend: `v` must be { data, shape }, got null",
  },
  {
    what: "a number as a tensor",
    q: 7,
    error: TypeError,
    message: "Cannot attend: `q` must be { data, shape }, got 7",
  },
  {
    what: "a string as a tensor",
    q: "queries",
    error: TypeError,
    message: 'Cannot attend: `q` must be { data, shape }, got "queries"',
  },
  {
    what: "a bare typed array",
    q: new Float32Array(4),
    error: TypeError,
    message: "Cannot attend: `q` is a bare Float32Array, " +
      "write { data: q, shape: [B, H, N, D] } with its own numbers",
  },
  {
    what: "a bare typed array of another kind",
    v: new Float64Array(4),
    error: TypeError,
    message: "Cannot attend: `v` is a bare Float64Array, " +
      "write tensor(Float32Array.from(v), [B, H, N, D])",
  },
  {
    what: "float64 data",
    k: { data: new Float64Array(160), shape: [2, 2, 5, 8] },
    error: TypeError,
    message:
      "Cannot attend: `k.data` must be a Float32Array, Float16Array, Uint16Array or GPUBuffer, " +
      "got Float64Array, write tensor(Float32Array.from(k.data), shape)",
  },
  {
    what: "data in a plain array",
    k: { data: [1, 2], shape: [1, 2] },
    error: TypeError,
    message:
      "Cannot attend: `k.data` must be a Float32Array, Float16Array, Uint16Array or GPUBuffer, " +
      "got Array, write tensor(k.data, shape)",
  },
  {
    what: "an array of another kind that only bears the name",
    q: { data: new Half(192), shape: [2, 4, 3, 8] },
    error: TypeError,
    message:
      "Cannot attend: `q.data` must be a Float32Array, Float16Array, Uint16Array or GPUBuffer, " +
      "got Float16Array, write tensor(Float32Array.from(q.data), shape)",
  },
  {
    what: "whole numbers of 16 bits without a dtype",
    k: { data: new Uint16Array(160), shape: [2, 2, 5, 8] },
    error: TypeError,
    message: 'Cannot attend: `k.data` is a Uint16Array, so `k.dtype` must be "f16" or ' +
      '"bf16", got undefined',
  },
  {
    what: "an unknown dtype",
    q: { ...q, dtype: "f64" },
    error: TypeError,
    message: 'Cannot attend: `q.dtype` must be one of f32, f16, bf16, got "f64"',
  },
  {
    what: "a dtype that is not what data holds",
    q: { ...q, dtype: "f16" },
    error: TypeError,
    message: "Cannot attend: `q` has dtype f16, its data is a Float32Array",
  },
  {
    what: "f32 as bf16",
    v: { ...v, dtype: "bf16" },
    error: TypeError,
    message: "Cannot attend: `v` has dtype bf16, its data is a Float32Array",
  },
  {
    what: "whole numbers of 16 bits as f32",
    q: { data: new Uint16Array(192), shape: q.shape, dtype: "f32" },
    error: TypeError,
    message: 'Cannot attend: `q.data` is a Uint16Array, so `q.dtype` must be "f16" or "bf16", ' +
      'got "f32"',
  },
  {
    what: "null as dtype",
    q: { ...q, dtype: null },
    error: TypeError,
    message: "Cannot attend: `q.dtype` must be one of f32, f16, bf16, got null",
  },
  {
    what: "16-bit data that is too short",
    k: { data: new Uint16Array(159), shape: k.shape, dtype: "bf16" },
    error: RangeError,
    message: "Cannot attend: `k` with shape [2,2,5,8], strides [80,40,8,1] and offset 0 " +
      "needs 160 elements, `data` has 159",
  },
  ...halfKinds,
  {
    what: "a shape that is no array",
    q: { data: q.data, shape: 8 },
    error: TypeError,
    message: "Cannot attend: `q.shape` must be an array, got 8",
  },
  {
    what: "a missing shape",
    q: { data: q.data },
    error: TypeError,
    message: "Cannot attend: `q.shape` must be an array, got undefined",
  },
  {
    what: "rank 1",
    q: { data: q.data, shape: [8] },
    error: RangeError,
    message: "Cannot attend: `q` must have rank 2 [N, D], 3 [H, N, D] or 4 [B, H, N, D], got [8]",
  },
  {
    what: "rank 5",
    v: { data: v.data, shape: [1, 2, 2, 5, 6] },
    error: RangeError,
    message: "Cannot attend: `v` must have rank 2 [N, D], 3 [H, N, D] or 4 [B, H, N, D], " +
      "got [1,2,2,5,6]",
  },
  {
    what: "a negative extent",
    q: { data: q.data, shape: [2, -1, 3, 8] },
    error: RangeError,
    message: "Cannot attend: `q.shape` must hold whole numbers >= 0, got [2,-1,3,8]",
  },
  {
    what: "a fractional extent",
    q: { data: q.data, shape: [2, 4, 1.5, 8] },
    error: RangeError,
    message: "Cannot attend: `q.shape` must hold whole numbers >= 0, got [2,4,1.5,8]",
  },
  {
    what: "NaN as an extent",
    q: { data: q.data, shape: [2, 4, NaN, 8] },
    error: RangeError,
    message: "Cannot attend: `q.shape` must hold whole numbers >= 0, got [2,4,NaN,8]",
  },
];

const placement: Refusal[] = [
  {
    what: "strides that are no array",
    q: { ...q, strides: 8 },
    error: TypeError,
    message: "Cannot attend: `q.strides` must be an array of whole numbers >= 0, got 8",
  },
  {
    what: "negative strides",
    q: { ...q, strides: [96, 24, -8, 1] },
    error: TypeError,
    message: "Cannot attend: `q.strides` must be an array of whole numbers >= 0, got [96,24,-8,1]",
  },
  {
    what: "strides of another rank",
    k: { ...k, strides: [8, 1] },
    error: RangeError,
    message: "Cannot attend: `k.strides` must have one number per axis of [2,2,5,8], got [8,1]",
  },
  {
    what: "a negative offset into data",
    q: { ...q, offset: -1 },
    error: RangeError,
    message: "Cannot attend: `q.offset` must be a whole number >= 0, got -1",
  },
  {
    what: "a fractional offset into data",
    q: { ...q, offset: 0.5 },
    error: RangeError,
    message: "Cannot attend: `q.offset` must be a whole number >= 0, got 0.5",
  },
  {
    what: "data that is too short",
    q: { data: q.data.subarray(1), shape: q.shape },
    error: RangeError,
    message: "Cannot attend: `q` with shape [2,4,3,8], strides [96,24,8,1] and offset 0 " +
      "needs 192 elements, `data` has 191",
  },
  {
    what: "an offset that reaches beyond data",
    k: { ...k, offset: 1 },
    error: RangeError,
    message: "Cannot attend: `k` with shape [2,2,5,8], strides [80,40,8,1] and offset 1 " +
      "needs 161 elements, `data` has 160",
  },
  {
    what: "strides that reach beyond data",
    v: { ...v, strides: [60, 30, 7, 1] },
    error: RangeError,
    message: "Cannot attend: `v` with shape [2,2,5,6], strides [60,30,7,1] and offset 0 " +
      "needs 124 elements, `data` has 120",
  },
];

/** Heads beyond any number that could be kept, of rows that are all one. */
const crowd = { data: new Float32Array(8), shape: [2 ** 23, 1, 1, 8], strides: [0, 0, 0, 1] };

const crowds = (["q", "k", "v"] as const).map((name): Refusal => ({
  what: `more heads than can be kept in ${name}`,
  [name]: crowd,
  error: RangeError,
  message: `Cannot attend: \`${name}\` must have B times H of at most 4194304, ` +
    "got 8388608 times 1",
}));

const agreement: Refusal[] = [
  {
    what: "k of another rank",
    k: tensor(2, 5, 8),
    error: RangeError,
    message: "Cannot attend: `k` must have rank 4 as `q` has, got [2,5,8]",
  },
  {
    what: "v of another rank",
    v: tensor(5, 6),
    error: RangeError,
    message: "Cannot attend: `v` must have rank 4 as `q` has, got [5,6]",
  },
  {
    what: "k of another batch",
    k: tensor(3, 2, 5, 8),
    error: RangeError,
    message: "Cannot attend: `k` must have B = 2 as `q` has, got 3",
  },
  {
    what: "v of another batch",
    v: tensor(1, 2, 5, 6),
    error: RangeError,
    message: "Cannot attend: `v` must have B = 2 as `q` has, got 1",
  },
  {
    what: "no query head",
    q: tensor(2, 0, 3, 8),
    error: RangeError,
    message: "Cannot attend: `q` must have Hq of at least 1, got 0",
  },
  {
    what: "no key/value head",
    k: tensor(2, 0, 5, 8),
    error: RangeError,
    message: "Cannot attend: `k` must have Hkv of at least 1, got 0",
  },
  {
    what: "v of other heads than k",
    v: tensor(2, 4, 5, 6),
    error: RangeError,
    message: "Cannot attend: `v` must have Hkv = 2 as `k` has, got 4",
  },
  {
    what: "query heads that do not share out evenly",
    q: tensor(2, 3, 3, 8),
    error: RangeError,
    message: "Cannot attend: Hq must be a multiple of Hkv, got Hq = 3 in `q` and Hkv = 2 in `k`",
  },
  {
    what: "fewer query heads than key/value heads",
    q: tensor(2, 1, 3, 8),
    error: RangeError,
    message: "Cannot attend: Hq must be a multiple of Hkv, got Hq = 1 in `q` and Hkv = 2 in `k`",
  },
  {
    what: "v of other keys than k",
    v: tensor(2, 2, 4, 6),
    error: RangeError,
    message: "Cannot attend: `v` must have Nk = 5 as `k` has, got 4",
  },
  {
    what: "k of another dimension than q",
    k: tensor(2, 2, 5, 80),
    error: RangeError,
    message: "Cannot attend: `k` must have D = 8 as `q` has, got 80",
  },
  {
    what: "no dimension",
    q: tensor(2, 4, 3, 0),
    k: tensor(2, 2, 5, 0),
    error: RangeError,
    message: "Cannot attend: `q` must have D of at least 1, got 0",
  },
  {
    what: "more dimensions than can be counted",
    q: { data: new Float32Array(1), shape: [1, 1, 1, 2 ** 24], strides: [0, 0, 0, 0] },
    k: { data: new Float32Array(1), shape: [1, 1, 1, 2 ** 24], strides: [0, 0, 0, 0] },
    v: { data: new Float32Array(1), shape: [1, 1, 1, 1] },
    error: RangeError,
    message: "Cannot attend: `q` must have D of at most 1048576, got 16777216",
  },
  {
    what: "more dimensions of values than can be counted",
    q: { data: new Float32Array(1), shape: [1, 1, 1, 1] },
    k: { data: new Float32Array(1), shape: [1, 1, 1, 1] },
    v: { data: new Float32Array(1), shape: [1, 1, 1, 2 ** 21], strides: [0, 0, 0, 0] },
    error: RangeError,
    message: "Cannot attend: `v` must have Dv of at most 1048576, got 2097152",
  },
  {
    what: "no value dimension",
    v: tensor(2, 2, 5, 0),
    error: RangeError,
    message: "Cannot attend: `v` must have Dv of at least 1, got 0",
  },
  {
    what: "heads that do not agree in the bnhd layout",
    options: { layout: "bnhd" },
    error: RangeError,
    message: "Cannot attend: Hq must be a multiple of Hkv, got Hq = 3 in `q` and Hkv = 5 in `k`",
  },
];

const options: Refusal[] = [
  {
    what: "null as options",
    options: null,
    error: TypeError,
    message: "Cannot attend: options must be an object, got null",
  },
  {
    what: "true as options",
    options: true,
    error: TypeError,
    message: "Cannot attend: options must be an object, got true",
  },
  {
    what: "an unknown option",
    options: { casual: true },
    error: TypeError,
    message: "Cannot attend: unknown option `casual`, known are causal, offset, window, chunk, " +
      "kvLengths, scale, layout, lse, out, signal, encoder, onProgress, softcap, alibi, bias, mask, " +
      "sinks, cuSeqlens, packed, blockMask, precision, scoreMod, maskMod; did you mean `causal`?",
  },
  {
    what: "a number as scoreMod",
    options: { scoreMod: 5 },
    error: TypeError,
    message: "Cannot attend: `scoreMod` must be a function, got 5",
  },
  {
    what: "null as maskMod",
    options: { maskMod: null },
    error: TypeError,
    message: "Cannot attend: `maskMod` must be a function, got null",
  },
  {
    what: "an async function as scoreMod",
    // deno-lint-ignore require-await
    options: { scoreMod: async (score: unknown) => score },
    error: TypeError,
    message: "Cannot attend: in `scoreMod` a promise is given back: it must be done at once, " +
      "without `async`",
  },
  {
    what: "a score as what maskMod gives back",
    options: { maskMod: ({ q }: { q: { toF32(): unknown } }) => q.toF32() },
    error: TypeError,
    message: "Cannot attend: in `maskMod` what is given back must be a condition, got a score: " +
      "compare it, as in a.ge(b)",
  },
  {
    what: "an unknown precision",
    options: { precision: "int4" },
    error: TypeError,
    message:
      'Cannot attend: `precision` must be one of "f32", "int16", "int8-qk", "int8", got "int4"',
  },
  {
    what: "null as precision",
    options: { precision: null },
    error: TypeError,
    message:
      'Cannot attend: `precision` must be one of "f32", "int16", "int8-qk", "int8", got null',
  },
  {
    what: "an unknown causal",
    options: { causal: "lower-right" },
    error: TypeError,
    message: 'Cannot attend: `causal` must be one of true, false, "bottom-right", "top-left", ' +
      'got "lower-right"',
  },
  {
    what: "null as causal",
    options: { causal: null },
    error: TypeError,
    message:
      'Cannot attend: `causal` must be one of true, false, "bottom-right", "top-left", got null',
  },
  {
    what: "an unknown layout",
    options: { layout: "bhdn" },
    error: TypeError,
    message: 'Cannot attend: `layout` must be one of "bhnd", "bnhd", got "bhdn"',
  },
  {
    what: "a number as lse",
    options: { lse: 1 },
    error: TypeError,
    message: "Cannot attend: `lse` must be one of true, false, got 1",
  },
  {
    what: "a string as scale",
    options: { scale: "0.5" },
    error: TypeError,
    message: 'Cannot attend: `scale` must be a number, got "0.5"',
  },
  {
    what: "NaN as scale",
    options: { scale: NaN },
    error: RangeError,
    message: "Cannot attend: `scale` must be finite in f32, got NaN",
  },
  {
    what: "an infinite scale",
    options: { scale: -Infinity },
    error: RangeError,
    message: "Cannot attend: `scale` must be finite in f32, got -Infinity",
  },
  {
    what: "a scale beyond f32",
    options: { scale: 1e39 },
    error: RangeError,
    message: "Cannot attend: `scale` must be finite in f32, got 1e+39",
  },
  {
    what: "a scale beyond f32 once log2(e) is in it",
    options: { scale: 3e38 },
    error: RangeError,
    message: "Cannot attend: `scale` must be finite in f32, got 3e+38",
  },
  {
    what: "a string as offset",
    options: { offset: "1" },
    error: TypeError,
    message: 'Cannot attend: `offset` must be a number or one per batch, got "1"',
  },
  {
    what: "offsets that are no numbers",
    options: { offset: [0, null] },
    error: TypeError,
    message: "Cannot attend: `offset` must be a number or one per batch, got Array",
  },
  {
    what: "a fractional offset",
    options: { offset: 0.5 },
    error: RangeError,
    message: "Cannot attend: `offset` must be whole, got 0.5",
  },
  {
    what: "NaN among the offsets",
    options: { offset: [0, NaN] },
    error: RangeError,
    message: "Cannot attend: `offset` must be whole, got 0,NaN",
  },
  {
    what: "an infinite offset",
    options: { offset: Infinity },
    error: RangeError,
    message: "Cannot attend: `offset` must be whole, got Infinity",
  },
  {
    what: "offsets for another batch",
    options: { offset: [0, 1, 2] },
    error: RangeError,
    message: "Cannot attend: `offset` must have one number per batch, B = 2, got 3",
  },
  {
    what: "an onProgress that is no function",
    options: { onProgress: "log" },
    error: TypeError,
    message: 'Cannot attend: `onProgress` must be a function, got "log"',
  },
  {
    what: "an object without `aborted` as signal",
    options: { signal: { throwIfAborted: () => {} } },
    error: TypeError,
    message: "Cannot attend: `signal` must be an AbortSignal, got Object",
  },
  {
    what: "an AbortController as signal",
    options: { signal: new AbortController() },
    error: TypeError,
    message: "Cannot attend: `signal` must be an AbortSignal, got AbortController",
  },
  {
    what: "an object as encoder",
    options: { encoder: {} },
    error: TypeError,
    message: "Cannot attend: `encoder` must be a GPUCommandEncoder, got Object",
  },
  {
    what: "false as signal",
    options: { signal: false },
    error: TypeError,
    message: "Cannot attend: `signal` must be an AbortSignal, got false",
  },
  {
    what: "an object like an array as window",
    options: { window: { length: 2, every: () => true } },
    error: TypeError,
    message:
      "Cannot attend: `window` must be [left, right] of whole numbers or null, or how many keys, got Object",
  },
  {
    what: "a window of no keys",
    options: { window: 0 },
    error: RangeError,
    message: "Cannot attend: `window` must be a whole number of keys >= 1, or [left, right], got 0",
  },
  {
    what: "a window of half a key",
    options: { window: 1.5, causal: true },
    error: RangeError,
    message:
      "Cannot attend: `window` must be a whole number of keys >= 1, or [left, right], got 1.5",
  },
  {
    what: "a window of one side",
    options: { window: [5] },
    error: TypeError,
    message:
      "Cannot attend: `window` must be [left, right] of whole numbers or null, or how many keys, got [5]",
  },
  {
    what: "a fractional window",
    options: { window: [0.5, null] },
    error: TypeError,
    message:
      "Cannot attend: `window` must be [left, right] of whole numbers or null, or how many keys, got [0.5,null]",
  },
  {
    what: "a negative window",
    options: { window: [4, -1] },
    error: RangeError,
    message: "Cannot attend: `window` must not be negative, got [4,-1]",
  },
  {
    what: "one number as kvLengths",
    options: { kvLengths: 4 },
    error: TypeError,
    message: "Cannot attend: `kvLengths` must be an array of one number per batch, got 4",
  },
  {
    what: "kvLengths for another batch",
    options: { kvLengths: [1, 1, 1] },
    error: RangeError,
    message: "Cannot attend: `kvLengths` must have one number per batch, B = 2, got 3",
  },
  {
    what: "a negative length among kvLengths",
    options: { kvLengths: [1, -1] },
    error: RangeError,
    message: "Cannot attend: `kvLengths` must be whole numbers from 0 to Nk = 5, got -1",
  },
  {
    what: "kvLengths with a gap",
    options: { kvLengths: [undefined, 1] },
    error: RangeError,
    message: "Cannot attend: `kvLengths` must be whole numbers from 0 to Nk = 5, got undefined",
  },
  {
    what: "more kvLengths than keys",
    options: { kvLengths: Int32Array.of(1, 6) },
    error: RangeError,
    message: "Cannot attend: `kvLengths` must be whole numbers from 0 to Nk = 5, got 6",
  },
  {
    what: "a string as softcap",
    options: { softcap: "30" },
    error: TypeError,
    message: 'Cannot attend: `softcap` must be a number, got "30"',
  },
  {
    what: "null as softcap",
    options: { softcap: null },
    error: TypeError,
    message: "Cannot attend: `softcap` must be a number, got null",
  },
  ...[-1, NaN, Infinity, 1e-31, 1e31].map((softcap) => ({
    what: `${softcap} as softcap`,
    options: { softcap },
    error: RangeError,
    message: `Cannot attend: \`softcap\` must be from 1e-30 to 1e30, or 0 for none, got ${softcap}`,
  })),
];

/** A tensor of numbers in an array, `{ data, shape }` and what else is given. */
function floats(shape: readonly number[], rest = {}) {
  return { data: new Float32Array(shape.reduce((a, b) => a * b, 1)), shape, ...rest };
}

/** What looks like a buffer on a GPU: calls are refused before anybody uses it. */
function buffer(bytes: number, usage = 0x80) {
  return { mapAsync() {}, usage, size: bytes };
}

const slopes: Refusal[] = [
  {
    what: "bits without a dtype as alibi",
    options: { alibi: new Uint16Array(4) },
    error: TypeError,
    message:
      "Cannot attend: `alibi` must be floats, in an array or as { data, shape }, got Uint16Array",
  },
  {
    what: "null as alibi",
    options: { alibi: null },
    error: TypeError,
    message: "Cannot attend: `alibi` must be floats, in an array or as { data, shape }, got null",
  },
  {
    what: "slopes that are no numbers",
    options: { alibi: [1, 1, "1", 1] },
    error: TypeError,
    message: 'Cannot attend: `alibi` must be floats, in an array or as { data, shape }, got "1"',
  },
  {
    what: "slopes of another dtype",
    options: { alibi: floats([4], { dtype: "f16" }) },
    error: TypeError,
    message: "Cannot attend: `alibi` has dtype f16, its data is a Float32Array",
  },
  {
    what: "slopes without a shape",
    options: { alibi: { data: new Float32Array(4) } },
    error: TypeError,
    message: "Cannot attend: `alibi.shape` must be an array, got undefined",
  },
  {
    what: "a fractional number of slopes",
    options: { alibi: { data: new Float32Array(4), shape: [3.5] } },
    error: RangeError,
    message: "Cannot attend: `alibi.shape` must hold whole numbers >= 0, got [3.5]",
  },
  {
    what: "slopes with strides that are no array",
    options: { alibi: floats([4], { strides: 1 }) },
    error: TypeError,
    message: "Cannot attend: `alibi.strides` must be an array of whole numbers >= 0, got 1",
  },
  {
    what: "slopes with an offset beyond their data",
    options: { alibi: floats([4], { offset: 1 }) },
    error: RangeError,
    message: "Cannot attend: `alibi` with shape [4], strides [1] and offset 1 " +
      "needs 5 elements, `data` has 4",
  },
  ...[[2], [2, 2], [3, 4], [1, 2, 4], []].map((shape): Refusal => ({
    what: `slopes of shape [${shape}]`,
    options: { alibi: floats(shape) },
    error: RangeError,
    message: "Cannot attend: `alibi` must have shape [Hq] = [4] or [B, Hq] = [2, 4], " +
      `got [${shape}]`,
  })),
];

const sinks: Refusal[] = [
  {
    what: "sinks in a column",
    options: { sinks: { data: new Float32Array(4), shape: [4, 1] } },
    error: RangeError,
    message: "Cannot attend: `sinks` must have shape [Hq] = [4], got [4,1]",
  },
  {
    what: "a number as sinks",
    options: { sinks: 0 },
    error: TypeError,
    message: "Cannot attend: `sinks` must be floats, in an array or as { data, shape }, got 0",
  },
  {
    what: "a plain array as data of sinks",
    options: { sinks: { data: [0, 0, 0, 0], shape: [4] } },
    error: TypeError,
    message:
      "Cannot attend: `sinks.data` must be a typed array on the CPU, and fit `dtype`, got Array",
  },
  {
    what: "sinks of another dtype",
    options: { sinks: floats([4], { dtype: "bf16" }) },
    error: TypeError,
    message: "Cannot attend: `sinks` has dtype bf16, its data is a Float32Array",
  },
  {
    what: "sinks with a negative offset",
    options: { sinks: floats([4], { offset: -1 }) },
    error: RangeError,
    message: "Cannot attend: `sinks.offset` must be a whole number >= 0, got -1",
  },
  ...[[2], [1], [2, 4], []].map((shape): Refusal => ({
    what: `sinks of shape [${shape}]`,
    options: { sinks: floats(shape) },
    error: RangeError,
    message: `Cannot attend: \`sinks\` must have shape [Hq] = [4], got [${shape}]`,
  })),
];

const biases: Refusal[] = [
  {
    what: "a bare typed array as bias",
    options: { bias: new Float32Array(15) },
    error: TypeError,
    message: "Cannot attend: `bias` must be { data: Float32Array or GPUBuffer, shape }, " +
      "got Float32Array, write tensor(bias, shape)",
  },
  {
    what: "null as bias",
    options: { bias: null } as never,
    error: TypeError,
    message: "Cannot attend: `bias` must be { data: Float32Array or GPUBuffer, shape }, got null",
  },
  {
    what: "a number as bias",
    options: { bias: 1 },
    error: TypeError,
    message: "Cannot attend: `bias` must be { data: Float32Array or GPUBuffer, shape }, got 1",
  },
  {
    what: "a bias of 16 bits",
    options: { bias: { data: new Uint16Array(15), shape: [3, 5], dtype: "f16" } },
    error: TypeError,
    message: "Cannot attend: `bias.data` must be a Float32Array, got Uint16Array",
  },
  {
    what: "a bias of 16 bits that does not say so",
    options: { bias: { data: new Uint16Array(15), shape: [3, 5] } as never },
    error: TypeError,
    message: "Cannot attend: `bias.data` must be a Float32Array, got Uint16Array",
  },
  {
    what: "a bias of another dtype",
    options: { bias: floats([3, 5], { dtype: "f16" }) },
    error: TypeError,
    message: 'Cannot attend: `bias.data` must be a Float32Array, got dtype "f16"',
  },
  {
    what: "a bias whose shape is no array",
    options: { bias: { data: new Float32Array(15), shape: 15 } },
    error: TypeError,
    message: "Cannot attend: `bias.shape` must be an array, got 15",
  },
  {
    what: "a bias with strides of another rank",
    options: { bias: floats([3, 5], { strides: [1] }) },
    error: RangeError,
    message: "Cannot attend: `bias.strides` must have one number per axis of [3,5], got [1]",
  },
  {
    what: "a bias that is too short",
    options: { bias: { data: new Float32Array(14), shape: [3, 5] } },
    error: RangeError,
    message: "Cannot attend: `bias` with shape [3,5], strides [5,1] and offset 0 " +
      "needs 15 elements, `data` has 14",
  },
  ...[[], [4], [2, 5], [3, 3, 5], [2, 2, 3, 5], [4, 4, 3, 5], [1, 1, 1, 3, 5]].map((
    shape,
  ): Refusal => ({
    what: `a bias of shape [${shape}]`,
    options: { bias: floats(shape) },
    error: RangeError,
    message:
      "Cannot attend: `bias` must have each axis of [B, Hq, Nq, Nk] = [2,4,3,5] full or 1, " +
      `leading ones may be missing, got [${shape}]`,
  })),
  {
    what: "a bias in a buffer without a dtype",
    options: { bias: { data: buffer(60), shape: [3, 5] } },
    error: TypeError,
    message: "Cannot attend: `bias.data` is a GPUBuffer, so `bias.dtype` must be one of f32",
  },
  {
    what: "a bias in a buffer of 16 bits",
    options: { bias: { data: buffer(60), shape: [3, 5], dtype: "f16" } },
    error: TypeError,
    message: 'Cannot attend: `bias.dtype` must be f32, got "f16"',
  },
  {
    what: "a bias in a buffer that shaders cannot read",
    options: { bias: { data: buffer(60, 0x08), shape: [3, 5], dtype: "f32" } },
    error: TypeError,
    message: "Cannot attend: `bias.data` must be a GPUBuffer made with GPUBufferUsage.STORAGE",
  },
  {
    what: "a bias in a buffer that is too short",
    options: { bias: { data: buffer(59), shape: [3, 5], dtype: "f32" } },
    error: RangeError,
    message: "Cannot attend: `bias` with shape [3,5], strides [5,1] and offset 0 " +
      "needs 15 elements, `data` has 14",
  },
];

const masks: Refusal[] = [
  {
    what: "a bare typed array as mask",
    options: { mask: new Uint8Array(15) },
    error: TypeError,
    message:
      "Cannot attend: `mask` must be { data: Uint8Array, shape }, got Uint8Array, write tensor(mask, shape)",
  },
  {
    what: "true as mask",
    options: { mask: true },
    error: TypeError,
    message: "Cannot attend: `mask` must be { data: Uint8Array, shape }, got true",
  },
  {
    what: "numbers as mask",
    options: { mask: floats([3, 5]) },
    error: TypeError,
    message: "Cannot attend: `mask.data` must be a Uint8Array (a byte each), Uint32Array (bits) " +
      "or GPUBuffer, got Float32Array, floats that are added to scores are a `bias`",
  },
  {
    what: "a mask of an unknown dtype",
    options: { mask: { data: new Uint8Array(15), shape: [3, 5], dtype: "bool" } },
    error: TypeError,
    message: 'Cannot attend: `mask.dtype` must be one of u8, bit, got "bool"',
  },
  {
    what: "bytes as bits",
    options: { mask: { data: new Uint8Array(15), shape: [3, 5], dtype: "bit" } },
    error: TypeError,
    message: "Cannot attend: `mask` has dtype bit, its data is a Uint8Array",
  },
  {
    what: "bits as bytes",
    options: { mask: { data: new Uint32Array(1), shape: [3, 5], dtype: "u8" } },
    error: TypeError,
    message: "Cannot attend: `mask` has dtype u8, its data is a Uint32Array",
  },
  {
    what: "a mask without a shape",
    options: { mask: { data: new Uint8Array(15) } },
    error: TypeError,
    message: "Cannot attend: `mask.shape` must be an array, got undefined",
  },
  {
    what: "a mask with negative strides",
    options: { mask: { data: new Uint8Array(15), shape: [3, 5], strides: [-5, 1] } },
    error: TypeError,
    message: "Cannot attend: `mask.strides` must be an array of whole numbers >= 0, got [-5,1]",
  },
  {
    what: "bytes that are too few",
    options: { mask: { data: new Uint8Array(14), shape: [3, 5] } },
    error: RangeError,
    message: "Cannot attend: `mask` with shape [3,5], strides [5,1] and offset 0 " +
      "needs 15 elements, `data` has 14",
  },
  {
    what: "bits that are too few",
    options: { mask: { data: new Uint32Array(1), shape: [3, 5], offset: 18 } },
    error: RangeError,
    message: "Cannot attend: `mask` with shape [3,5], strides [5,1] and offset 18 " +
      "needs 33 elements, `data` has 32",
  },
  ...[[], [3], [5, 3], [2, 3, 5], [3, 1, 3, 5], [1, 1, 1, 3, 5]].map((shape): Refusal => ({
    what: `a mask of shape [${shape}]`,
    options: { mask: { data: new Uint8Array(99), shape } },
    error: RangeError,
    message:
      "Cannot attend: `mask` must have each axis of [B, Hq, Nq, Nk] = [2,4,3,5] full or 1, " +
      `leading ones may be missing, got [${shape}]`,
  })),
  {
    what: "a mask in a buffer without a dtype",
    options: { mask: { data: buffer(16), shape: [3, 5] } },
    error: TypeError,
    message: "Cannot attend: `mask.data` is a GPUBuffer, so `mask.dtype` must be one of u8, bit",
  },
  {
    what: "a mask in a buffer that shaders cannot read",
    options: { mask: { data: buffer(16, 0x08), shape: [3, 5], dtype: "u8" } },
    error: TypeError,
    message: "Cannot attend: `mask.data` must be a GPUBuffer made with GPUBufferUsage.STORAGE",
  },
  {
    what: "bytes in a buffer without a whole last word",
    options: { mask: { data: buffer(15), shape: [3, 5], dtype: "u8" } },
    error: RangeError,
    message: "Cannot attend: `mask` with shape [3,5], strides [5,1] and offset 0 " +
      "needs 15 elements, `data` has 12",
  },
  {
    what: "bits in a buffer that is too short",
    options: { mask: { data: buffer(4), shape: [4, 3, 5], dtype: "bit" } },
    error: RangeError,
    message: "Cannot attend: `mask` with shape [4,3,5], strides [15,5,1] and offset 0 " +
      "needs 60 elements, `data` has 32",
  },
];

/** A block mask of these extents. */
function blocks(queries: number, keys: number, batch = 1, heads = 1) {
  return blockMask.causal({ queries, keys, batch, heads });
}

const blockMasks: Refusal[] = [
  {
    what: "a mask as blockMask",
    options: { blockMask: { data: new Uint8Array(15), shape: [3, 5] } },
    error: TypeError,
    message: "Cannot attend: `blockMask` must be a BlockMask, as `blockMask.causal()` and its " +
      "like make, got Object",
  },
  {
    what: "null as blockMask",
    options: { blockMask: null },
    error: TypeError,
    message: "Cannot attend: `blockMask` must be a BlockMask, as `blockMask.causal()` and its " +
      "like make, got null",
  },
  ...[[5, 3], [3, 4], [4, 5]].map(([queries, keys]): Refusal => ({
    what: `a block mask for ${queries} queries and ${keys} keys`,
    options: { blockMask: blocks(queries, keys) },
    error: RangeError,
    message: "Cannot attend: `blockMask` must be for Nq = 3 and Nk = 5, " +
      `got one for ${queries} and ${keys}`,
  })),
  ...[[3, 1], [1, 2], [4, 2]].map(([batch, heads]): Refusal => ({
    what: `a block mask for ${batch} batches and ${heads} heads`,
    options: { blockMask: blocks(3, 5, batch, heads) },
    error: RangeError,
    message: "Cannot attend: `blockMask` must have B = 2 or 1 and Hq = 4 or 1, " +
      `got B = ${batch} and Hq = ${heads}`,
  })),
];

/** The tensors of a right call in one batch, as packed sequences need them. */
const one = { q: tensor(4, 3, 8), k: tensor(2, 5, 8), v: tensor(2, 5, 6) };

/** A refusal of packed sequences: two of 2 and 1 queries, and of 1 and 4 keys, and what else is given. */
function packed(what: string, options: object, error: ErrorClass, message: string): Refusal {
  const cuSeqlens = { q: [0, 2, 3], k: [0, 1, 5] };
  return { what, ...one, options: { cuSeqlens, ...options }, error, message };
}

/** A refusal of boundaries. */
function boundaries(what: string, cuSeqlens: unknown, error: ErrorClass, message: string): Refusal {
  return packed(what, { cuSeqlens }, error, `Cannot attend: ${message}`);
}

/** A refusal of lengths of packed sequences. */
function lengths(what: string, packed: unknown, error: ErrorClass, message: string): Refusal {
  return { what, ...one, options: { packed }, error, message: `Cannot attend: ${message}` };
}

const sequences: Refusal[] = [
  packed(
    "packed sequences that are said twice",
    { packed: [3] },
    TypeError,
    "Cannot attend: `cuSeqlens` and `packed` say the same, give one of them",
  ),
  lengths(
    "a number as packed",
    5,
    TypeError,
    "`packed` must be { q, k } of arrays, or one for both, got 5",
  ),
  lengths(
    "lengths of other numbers of sequences",
    { q: [3], k: [1, 4] },
    RangeError,
    "`packed.q` and `packed.k` must have one length, got 1 and 2",
  ),
  lengths(
    "lengths for queries and keys that are others",
    [1, 2],
    RangeError,
    "`packed.k` must have the sum Nk = 5, got 3",
  ),
  lengths(
    "a negative length",
    { q: [4, -1], k: [1, 4] },
    RangeError,
    "`packed.q` must be whole numbers >= 0, got -1 at index 1",
  ),
  lengths(
    "lengths that do not fill the queries",
    { q: [1, 1], k: [1, 4] },
    RangeError,
    "`packed.q` must have the sum Nq = 3, got 2",
  ),
  ...([[null, "null"], [3, "3"], ["0,3", '"0,3"']] as const).map(([given, named]) =>
    boundaries(
      `${named} as cuSeqlens`,
      given,
      TypeError,
      "`cuSeqlens` must be { q, k } of arrays, or one for both, got " + named,
    )
  ),
  boundaries(
    "one list as cuSeqlens of other numbers of queries and keys",
    Int32Array.of(0, 3),
    RangeError,
    "`cuSeqlens.k` must end with Nk = 5, got 3",
  ),
  boundaries(
    "cuSeqlens without k",
    { q: Int32Array.of(0, 3) },
    TypeError,
    "`cuSeqlens` must be { q, k } of arrays, or one for both, got q: Int32Array, k: undefined",
  ),
  boundaries(
    "a number as cuSeqlens.q",
    { q: 3, k: [0, 5] },
    TypeError,
    "`cuSeqlens` must be { q, k } of arrays, or one for both, got q: 3, k: Array",
  ),
  {
    what: "packed sequences in two batches",
    options: { cuSeqlens: { q: [0, 3], k: [0, 5] } },
    error: RangeError,
    message: "Cannot attend: `cuSeqlens` needs B = 1, its sequences lie one after the other in " +
      "one batch, got B = 2",
  },
  boundaries(
    "boundaries of two lengths",
    { q: [0, 3], k: [0, 2, 5] },
    RangeError,
    "`cuSeqlens.q` and `cuSeqlens.k` must have one length, got 2 and 3",
  ),
  boundaries(
    "boundaries that do not begin with 0",
    { q: [1, 3], k: [0, 5] },
    RangeError,
    "`cuSeqlens.q` must begin with 0 and not decrease, got 1 at index 0",
  ),
  boundaries(
    "boundaries that decrease",
    { q: [0, 3, 3], k: Int32Array.of(0, 6, 5) },
    RangeError,
    "`cuSeqlens.k` must begin with 0 and not decrease, got 5 at index 2",
  ),
  boundaries(
    "a fractional boundary",
    { q: [0, 1.5, 3], k: [0, 1, 5] },
    RangeError,
    "`cuSeqlens.q` must begin with 0 and not decrease, got 1.5 at index 1",
  ),
  boundaries(
    "a boundary that is no number",
    { q: [0, 1, 3], k: [0, "1", 5] },
    RangeError,
    '`cuSeqlens.k` must begin with 0 and not decrease, got "1" at index 1',
  ),
  boundaries(
    "sequences that end before the queries do",
    { q: [0, 2], k: [0, 5] },
    RangeError,
    "`cuSeqlens.q` must end with Nq = 3, got 2",
  ),
  boundaries(
    "sequences that end past the keys",
    { q: [0, 3], k: [0, 6] },
    RangeError,
    "`cuSeqlens.k` must end with Nk = 5, got 6",
  ),
  boundaries(
    "no boundary at all",
    { q: [], k: [] },
    RangeError,
    "`cuSeqlens.q` must end with Nq = 3, got undefined",
  ),
  packed(
    "offsets that are no numbers, of sequences",
    { offset: ["0", 1] },
    TypeError,
    "Cannot attend: `offset` must be a number or one per sequence, got Array",
  ),
  packed(
    "offsets of other sequences",
    { offset: [1] },
    RangeError,
    "Cannot attend: `offset` must have one number per sequence, 2 of them, got 1",
  ),
  packed(
    "one number as kvLengths of sequences",
    { kvLengths: 4 },
    TypeError,
    "Cannot attend: `kvLengths` must be an array of one number per sequence, got 4",
  ),
  packed(
    "kvLengths of other sequences",
    { kvLengths: [1, 1, 1] },
    RangeError,
    "Cannot attend: `kvLengths` must have one number per sequence, 2 of them, got 3",
  ),
  packed(
    "more kvLengths than a sequence has keys",
    { kvLengths: [2, 2] },
    RangeError,
    "Cannot attend: `kvLengths` must be whole numbers from 0 to the keys of sequence 0 = 1, got 2",
  ),
  packed(
    "slopes of other sequences",
    { alibi: floats([3, 4]) },
    RangeError,
    "Cannot attend: `alibi` must have shape [Hq] = [4] or [sequences, Hq] = [2, 4], got [3,4]",
  ),
  packed(
    "a bias over one sequence of several",
    { bias: floats([2, 1]) },
    RangeError,
    "Cannot attend: `bias` must have each axis of [B, Hq, Nq, Nk] = [1,4,3,5] full or 1, " +
      "leading ones may be missing, got [2,1]",
  ),
  packed(
    "a block mask over one sequence of several",
    { blockMask: blocks(2, 1) },
    RangeError,
    "Cannot attend: `blockMask` must be for Nq = 3 and Nk = 5, got one for 2 and 1",
  ),
];

const results: Refusal[] = [
  {
    what: "a bare typed array as out",
    options: { out: new Float32Array(144) },
    error: TypeError,
    message: "Cannot attend: `out` is a bare Float32Array, " +
      "write { data: out, shape: [B, H, N, D] } with its own numbers",
  },
  {
    what: "out of another shape",
    options: { out: tensor(2, 4, 3, 8) },
    error: RangeError,
    message: "Cannot attend: `out` must have shape [2,4,3,6], got [2,4,3,8]",
  },
  {
    what: "out of another rank",
    options: { out: tensor(8, 3, 6) },
    error: RangeError,
    message: "Cannot attend: `out` must have shape [2,4,3,6], got [8,3,6]",
  },
  {
    what: "out that is too short",
    options: { out: { ...tensor(2, 4, 3, 6), offset: 1 } },
    error: RangeError,
    message: "Cannot attend: `out` with shape [2,4,3,6], strides [72,18,6,1] and offset 1 " +
      "needs 145 elements, `data` has 144",
  },
  {
    what: "16-bit numbers without a dtype as out",
    options: { out: { data: new Uint16Array(144), shape: [2, 4, 3, 6] } },
    error: TypeError,
    message: 'Cannot attend: `out.data` is a Uint16Array, so `out.dtype` must be "f16" or ' +
      '"bf16", got undefined',
  },
  {
    what: "out with a stride of 0",
    options: { out: { ...tensor(2, 4, 3, 6), strides: [0, 18, 6, 1] } },
    error: RangeError,
    message: "Cannot attend: `out` with strides [0,18,6,1] may write an element twice, " +
      "each stride must step past all that the smaller ones reach",
  },
  {
    what: "out whose rows overlap",
    options: { out: { ...tensor(2, 4, 3, 6), strides: [72, 18, 5, 1] } },
    error: RangeError,
    message: "Cannot attend: `out` with strides [72,18,5,1] may write an element twice, " +
      "each stride must step past all that the smaller ones reach",
  },
];

/** Every refusal. */
export const refusals: readonly Refusal[] = [
  ...kinds,
  ...placement,
  ...crowds,
  ...agreement,
  ...options,
  ...slopes,
  ...sinks,
  ...biases,
  ...masks,
  ...blockMasks,
  ...sequences,
  ...results,
];

/** The arguments of a refused call. */
export function argumentsOf(
  refusal: Refusal,
): [q: AnyTensor, k: AnyTensor, v: AnyTensor, options: AttentionOptions] {
  const { options } = refusal;
  const given = { ...right, ...refusal };
  return [
    given.q as AnyTensor,
    given.k as AnyTensor,
    given.v as AnyTensor,
    options as AttentionOptions,
  ];
}
