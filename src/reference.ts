/**
 * The oracle: attention by the direct formula, in float64, without tiles. Slow, holds one row of
 * scores, and is written to be read beside `docs/SEMANTICS.md`; everything else is measured against
 * it. It shares no code with the backends, and reads the options by itself instead of the plan.
 *
 * @module
 */

import type { AttentionOptions, BooleanTensor } from "./options.ts";

/** A tensor of the oracle's input: as `Tensor`, and float64 is kept as it is. */
export interface ReferenceTensor {
  /** The elements; indexed by strides and offset. */
  readonly data: ArrayLike<number>;
  /** Extent of each axis. */
  readonly shape: readonly number[];
  /** Elements from one index to the next, per axis. */
  readonly strides?: readonly number[];
  /** Element at which the tensor begins. */
  readonly offset?: number;
  /** `"f16"` or `"bf16"` where a `Uint16Array` holds their bits. */
  readonly dtype?: string;
}

/** The oracle's result, contiguous. */
export interface ReferenceResult {
  /** In the rank and layout of `q`. */
  readonly out: { readonly data: Float64Array; readonly shape: readonly number[] };
  /** `[B, Hq, Nq]` in the rank of `q`, natural logarithm. */
  readonly lse: { readonly data: Float64Array; readonly shape: readonly number[] };
}

/** Reads one element by its indices. */
type Read = (b: number, h: number, n: number, d: number) => number;

/** An extent and a stride for each of `[B, H, N, D]`. */
interface Axes {
  readonly extents: readonly number[];
  readonly read: Read;
}

/** The number that 16 bits of f16 stand for. */
function decodeHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Infinity : NaN;
  return sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** The number that 16 bits of bf16 stand for: the upper half of an f32. */
function decodeBrain(bits: number): number {
  return new Float32Array(Uint32Array.of(bits << 16).buffer)[0];
}

/** The elements as numbers; a `Uint32Array` holds bits. */
function numbersOf(tensor: ReferenceTensor | BooleanTensor): ArrayLike<number> {
  const data = tensor.data as ArrayLike<number>;
  if (data instanceof Uint32Array) {
    return Uint8Array.from({ length: data.length * 32 }, (_, e) => data[e >> 5] >>> (e & 31) & 1);
  }
  if (!(data instanceof Uint16Array)) return data;
  const decode = (tensor as ReferenceTensor).dtype === "bf16" ? decodeBrain : decodeHalf;
  return Float64Array.from(data, decode);
}

/** Tensors with fewer than four axes have 1 in front; a broadcast axis has stride 0. */
function axesOf(tensor: ReferenceTensor | BooleanTensor, bnhd = false): Axes {
  const { shape, offset = 0 } = tensor;
  const data = numbersOf(tensor);
  const dense = shape.map((_, axis) => shape.slice(axis + 1).reduce((a, b) => a * b, 1));
  const missing = 4 - shape.length;
  const extents = [...Array(missing).fill(1), ...shape];
  const strides = [...Array(missing).fill(0), ...(tensor.strides ?? dense)];
  if (bnhd && shape.length > 2) {
    [extents[1], extents[2]] = [extents[2], extents[1]];
    [strides[1], strides[2]] = [strides[2], strides[1]];
  }
  const steps = strides.map((stride, axis) => extents[axis] === 1 ? 0 : stride);
  const read: Read = (b, h, n, d) =>
    data[offset + b * steps[0] + h * steps[1] + n * steps[2] + d * steps[3]];
  return { extents, read };
}

/** Which keys row `i` of batch `b` may see, before masks: `aligned` is the key it stands on. */
function inBand(options: AttentionOptions, aligned: number, j: number): boolean {
  const [left, right] = options.window ?? [null, null];
  return (!options.causal || j <= aligned) &&
    (left === null || j >= aligned - left) &&
    (right === null || j <= aligned + right);
}

/**
 * Attention by the direct formula in float64: every option of `attention()`, tensors in arrays.
 *
 * ```ts
 * import { referenceAttention } from "@flashtile/attention/reference";
 *
 * const q = { data: [1, 0], shape: [1, 2] };
 * const kv = { data: [1, 0, 0, 1], shape: [2, 2] };
 * const { out } = referenceAttention(q, kv, kv, { scale: 1 });
 * console.log(out.data); // [e / (e + 1), 1 / (e + 1)]
 * ```
 *
 * @param q Queries, `[B, Hq, Nq, D]`, `[H, N, D]` or `[N, D]`.
 * @param k Keys, `[B, Hkv, Nk, D]`.
 * @param v Values, `[B, Hkv, Nk, Dv]`.
 * @param options As those of `attention()`; what is about memory and time is ignored.
 * @returns `out` and `lse`, float64. Inputs are not checked.
 */
export function referenceAttention(
  q: ReferenceTensor,
  k: ReferenceTensor,
  v: ReferenceTensor,
  options: AttentionOptions = {},
): ReferenceResult {
  const bnhd = options.layout === "bnhd";
  const [Q, K, V] = [q, k, v].map((tensor) => axesOf(tensor, bnhd));
  const [B, Hq, Nq, D] = Q.extents;
  const [, Hkv, Nk, Dv] = V.extents;
  const scale = options.scale ?? 1 / Math.sqrt(D);
  const bias = options.bias && axesOf(options.bias as ReferenceTensor).read;
  const { blockMask } = options;
  const mask = options.mask && axesOf(options.mask).read;
  const slopes = options.alibi && axesOf(options.alibi).read;
  const sinks = options.sinks && axesOf(options.sinks).read;

  const outShape = [...q.shape.slice(0, -1), Dv];
  const out = new Float64Array(B * Hq * Nq * Dv);
  const outAt = axesOf({ data: out.map((_, index) => index), shape: outShape }, bnhd).read;
  const lse = new Float64Array(B * Hq * Nq);

  for (let b = 0; b < B; b++) {
    for (let h = 0; h < Hq; h++) {
      const g = Math.floor(h * Hkv / Hq);
      for (let i = 0; i < Nq; i++) {
        // Where this row stands among the keys, and which keys count for it at all.
        const row = rowOf(options, b, i, Nq, Nk);

        // 1. Scores, scaled, capped and biased; a key that is not kept has none.
        const scores = new Float64Array(Nk).fill(-Infinity);
        for (let j = 0; j < Nk; j++) {
          const at = j - row.firstKey;
          if (at < 0 || at >= row.keys || !inBand(options, row.aligned, at)) continue;
          if (mask && !mask(b, h, i, j)) continue;
          if (blockMask && !blockMask.keeps(b, h, i, j)) continue;
          if (bias && bias(b, h, i, j) === -Infinity) continue;
          let s = 0;
          for (let d = 0; d < D; d++) s += Q.read(b, h, i, d) * K.read(b, g, j, d);
          s *= scale;
          if (options.softcap) s = options.softcap * Math.tanh(s / options.softcap);
          if (bias) s += bias(b, h, i, j);
          if (slopes) s -= slopes(0, 0, row.segment, h) * Math.abs(row.aligned - at);
          scores[j] = s;
        }

        // 2. Their maximum; NaN is left to the sum.
        const sink = sinks ? sinks(0, 0, 0, h) : -Infinity;
        let m = sink;
        for (const s of scores) if (s > m) m = s;

        // 3. Weights and their sum.
        const weights = scores.map((s) => s === -Infinity ? 0 : Math.exp(s - m));
        let l = sink === -Infinity ? 0 : Math.exp(sink - m);
        for (const weight of weights) l += weight;

        // 4. The weighted mean of the values that are kept. No key and no sink: 0 and -Infinity.
        for (let d = 0; d < Dv; d++) {
          let sum = 0;
          for (let j = 0; j < Nk; j++) {
            if (scores[j] !== -Infinity) sum += weights[j] * V.read(b, g, j, d);
          }
          out[outAt(b, h, i, d)] = l === 0 ? 0 : sum / l;
        }
        lse[(b * Hq + h) * Nq + i] = l === 0 ? -Infinity : m + Math.log(l);
      }
    }
  }
  const lseShape = [B, Hq, Nq].slice(4 - q.shape.length);
  return { out: { data: out, shape: outShape }, lse: { data: lse, shape: lseShape } };
}

/** The keys that row `i` has: `keys` of them from `firstKey` on, and the one it is aligned with. */
interface Row {
  /** Its batch, or its packed sequence. */
  readonly segment: number;
  readonly firstKey: number;
  readonly keys: number;
  readonly aligned: number;
}

function rowOf(options: AttentionOptions, b: number, i: number, Nq: number, Nk: number): Row {
  const { causal, offset, cuSeqlens, kvLengths } = options;
  const place = cuSeqlens
    ? placeInSequence(cuSeqlens, i)
    : { segment: b, firstKey: 0, keys: Nk, queries: Nq, at: i };
  const { segment, firstKey, keys, queries, at } = place;
  const given = typeof offset === "object" ? offset[segment] : offset;
  const shift = given ?? (causal === "top-left" ? 0 : keys - queries);
  return { segment, firstKey, keys: kvLengths?.[segment] ?? keys, aligned: at + shift };
}

function placeInSequence({ q, k }: NonNullable<AttentionOptions["cuSeqlens"]>, i: number) {
  let segment = 0;
  while (q[segment + 1] <= i) segment++;
  return {
    segment,
    firstKey: k[segment],
    keys: k[segment + 1] - k[segment],
    queries: q[segment + 1] - q[segment],
    at: i - q[segment],
  };
}
