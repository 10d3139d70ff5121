/**
 * A plain model of a KV cache: the tokens of every sequence as lists of rows, and programs that do the
 * same to the model and to a cache.
 *
 * @module
 */

import fc from "fast-check";
import {
  alibiSlopes,
  type CacheDType,
  type KvCache,
  type KvCacheOptions,
  type Tensor,
} from "@flashtile/attention";
import { gpuRequired } from "./gpu.ts";
import type { Meaning, Problem } from "./problem.ts";
import { normals, type Random, seeded } from "./random.ts";

/** A token: its keys and values, head after head. */
interface Token {
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** Sizes of a cache that is modelled. */
export interface CacheSizes {
  readonly batch: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly valueDim: number;
  readonly pageSize: number;
  readonly dtype: CacheDType;
  readonly smoothKeys: boolean;
}

/** What attention to a cache is asked beside. */
const terms = ["causal", "window", "mask", "bias", "alibi", "softcap", "sinks"] as const;

type Term = typeof terms[number];

/** One step of a program. */
export type Step =
  | {
    readonly do: "append";
    readonly tokens: number;
    readonly lengths: readonly number[];
    readonly how: "all" | "some" | "packed";
  }
  | { readonly do: "truncate"; readonly sequence: number; readonly share: number }
  | { readonly do: "fork"; readonly from: number; readonly to: number }
  | { readonly do: "free"; readonly sequence: number }
  | { readonly do: "reorder"; readonly from: readonly number[] }
  | { readonly do: "keep"; readonly sequence: number; readonly last: readonly boolean[] }
  | {
    readonly do: "evict";
    readonly sequence: number;
    readonly first: number;
    readonly last: number;
  }
  | {
    readonly do: "attend";
    readonly queries: number;
    readonly group: number;
    readonly terms: readonly Term[];
    readonly left: number | null;
    /** Whether queries are packed. */
    readonly packed: boolean;
  }
  | { readonly do: "reload" };

/** A cache's options from its sizes. */
export function cacheOptions(sizes: CacheSizes): KvCacheOptions {
  return { ...sizes };
}

/** Random sizes. */
export function cacheSizes(dtypes: readonly CacheDType[]): fc.Arbitrary<CacheSizes> {
  return fc.record({
    batch: fc.integer({ min: 1, max: 3 }),
    kvHeads: fc.integer({ min: 1, max: 2 }),
    headDim: fc.integer({ min: 1, max: 20 }),
    valueDim: fc.integer({ min: 1, max: 20 }),
    pageSize: fc.constantFrom(16, 32, 128),
    dtype: fc.constantFrom(...dtypes),
    smoothKeys: fc.boolean(),
  }).map((sizes) => ({ ...sizes, smoothKeys: sizes.smoothKeys && sizes.dtype.startsWith("int") }));
}

/** Random steps for so many sequences. */
export function steps(batch: number): fc.Arbitrary<Step[]> {
  const sequence = fc.integer({ min: 0, max: batch - 1 });
  const count = fc.oneof(fc.integer({ min: 0, max: 5 }), fc.constantFrom(1, 15, 16, 17, 40, 70));
  const step = fc.oneof(
    {
      weight: 5,
      arbitrary: count.chain((tokens) =>
        fc.record({
          do: fc.constant("append" as const),
          tokens: fc.constant(tokens),
          lengths: fc.array(fc.integer({ min: 0, max: tokens }), {
            minLength: batch,
            maxLength: batch,
          }),
          how: fc.constantFrom("all" as const, "all" as const, "some" as const, "packed" as const),
        })
      ),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant("truncate" as const),
        sequence,
        share: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant("fork" as const), from: sequence, to: sequence }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("free" as const), sequence }) },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant("reorder" as const),
        from: fc.array(sequence, { minLength: batch, maxLength: batch }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant("keep" as const),
        sequence,
        last: fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant("evict" as const),
        sequence,
        first: fc.integer({ min: 0, max: 40 }),
        last: fc.integer({ min: 0, max: 60 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant("attend" as const),
        queries: fc.constantFrom(1, 1, 2, 3, 5, 9),
        group: fc.constantFrom(1, 1, 2, 3, 8),
        terms: fc.oneof(fc.constant(["causal" as const]), fc.subarray([...terms])),
        left: fc.option(fc.integer({ min: 0, max: 60 })),
        // On a GPU with shaders of its own, which tests/contract/cache_calls has compiled.
        packed: gpuRequired ? fc.constant(false) : fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ do: "reload" as const }) },
  );
  return fc.array(step, { minLength: 3, maxLength: 12 });
}

/** What a cache should hold. */
export class CacheModel {
  readonly sizes: CacheSizes;
  readonly #sequences: Token[][];
  readonly #random: Random;

  constructor(sizes: CacheSizes, seed: number) {
    this.sizes = sizes;
    this.#sequences = Array.from({ length: sizes.batch }, () => []);
    this.#random = seeded(seed);
  }

  get lengths(): number[] {
    return this.#sequences.map((tokens) => tokens.length);
  }

  /** Does a step to the model and to the cache. */
  run(step: Exclude<Step, { do: "attend" } | { do: "reload" }>, cache: KvCache): void {
    if (step.do === "append") this.#append(step, cache);
    else if (step.do === "truncate") {
      const length = Math.floor(step.share * this.lengths[step.sequence]);
      this.#sequences[step.sequence].splice(length);
      cache.truncate(step.sequence, length);
    } else if (step.do === "fork") {
      this.#sequences[step.to] = [...this.#sequences[step.from]];
      cache.fork(step.from, step.to);
    } else if (step.do === "free") {
      this.#sequences[step.sequence] = [];
      cache.free(step.sequence);
    } else if (step.do === "reorder") {
      const before = this.#sequences.map((tokens) => [...tokens]);
      step.from.forEach((from, at) => this.#sequences[at] = [...before[from]]);
      cache.reorder(step.from);
    } else if (step.do === "keep") {
      const tokens = this.#sequences[step.sequence];
      const first = Math.max(0, tokens.length - step.last.length);
      const kept = step.last.flatMap((isKept, at) =>
        isKept && first + at < tokens.length ? [first + at] : []
      );
      if (kept.length === 0) return;
      cache.keep(step.sequence, kept);
      tokens.splice(kept[0], Infinity, ...kept.map((at) => tokens[at]));
    } else {
      const { sequence, first: keepFirst, last: keepLast } = step;
      const tokens = this.#sequences[sequence], gone = tokens.length - keepFirst - keepLast;
      if (gone > 0) tokens.splice(keepFirst, gone);
      cache.evict({ keepFirst, keepLast }, sequence);
    }
  }

  #append({ tokens, lengths, how }: Step & { do: "append" }, cache: KvCache): void {
    const { batch, kvHeads, headDim, valueDim } = this.sizes;
    const k = normals(batch * kvHeads * tokens * headDim, this.#random);
    const v = normals(batch * kvHeads * tokens * valueDim, this.#random);
    /** Rows of a token, head after head. */
    const rows = (data: Float32Array, b: number, token: number, width: number) => {
      const heads = Array.from({ length: kvHeads }, (_, head) => {
        const at = ((b * kvHeads + head) * tokens + token) * width;
        return [...data.subarray(at, at + width)];
      });
      return Float32Array.from(heads.flat());
    };
    const added = lengths.map((length, b) =>
      Array.from({ length }, (_, token) => ({
        k: rows(k, b, token, headDim),
        v: rows(v, b, token, valueDim),
      }))
    );
    // The last first, to tell their order.
    const order = how === "all" ? [...lengths.keys()] : [...lengths.keys()].reverse();
    const total = lengths.reduce((sum, length) => sum + length, 0);
    const place = (name: keyof Token, width: number): Tensor => {
      if (how === "packed") {
        const data = order.flatMap((b) => added[b].map((token) => [...token[name]])).flat();
        const shape = [1, total, kvHeads, width];
        return { data: Float32Array.from(data), shape };
      }
      const one = name === "k" ? k : v, each = kvHeads * tokens * width;
      const data = order.flatMap((b) => [...one.subarray(b * each, (b + 1) * each)]);
      return { data: Float32Array.from(data), shape: [batch, kvHeads, tokens, width] };
    };
    let end = 0;
    cache.append(place("k", headDim), place("v", valueDim), {
      ...(how !== "all" && { sequences: order }),
      ...(how === "packed"
        ? { cuSeqlens: [0, ...order.map((b) => end += lengths[b])], layout: "bnhd" as const }
        : { lengths: order.map((b) => lengths[b]) }),
    });
    for (const [b, some] of added.entries()) this.#sequences[b].push(...some);
  }

  /** The options of a step, for so many query heads and the tokens that are there. */
  options({ queries, group, terms, left }: Step & { do: "attend" }): Omit<Meaning, "cuSeqlens"> {
    const { kvHeads } = this.sizes, heads = kvHeads * group, keys = Math.max(0, ...this.lengths);
    const has = (term: Term) => terms.includes(term);
    const numbers = (shape: readonly number[]): Tensor => ({
      data: normals(shape.reduce((size, extent) => size * extent, 1), this.#random),
      shape,
    });
    const mask = Uint8Array.from({ length: queries * keys }, () => Number(this.#random() < 0.7));
    return {
      causal: has("causal"),
      ...(has("window") && { window: [left, 2] as const }),
      ...(has("mask") && { mask: { data: mask, shape: [queries, keys] } }),
      ...(has("bias") && { bias: numbers([heads, 1, keys]) }),
      ...(has("alibi") && { alibi: alibiSlopes(heads) }),
      ...(has("softcap") && { softcap: 5 }),
      ...(has("sinks") && { sinks: numbers([heads]) }),
    };
  }

  /** Queries, and all that the cache holds as dense tensors, shorter sequences padded with NaN. */
  problem(queries: number, group: number): { problem: Problem; q: Tensor } {
    const { batch: B, kvHeads: Hkv, headDim: D, valueDim: Dv } = this.sizes;
    const sizes = { B, Hkv, D, Dv, Hq: Hkv * group, Nq: queries, Nk: Math.max(0, ...this.lengths) };
    const k = new Float32Array(B * Hkv * sizes.Nk * D).fill(NaN);
    const v = new Float32Array(B * Hkv * sizes.Nk * Dv).fill(NaN);
    for (const [b, tokens] of this.#sequences.entries()) {
      for (const [at, token] of tokens.entries()) {
        for (let head = 0; head < Hkv; head++) {
          const row = (b * Hkv + head) * sizes.Nk + at;
          k.set(token.k.subarray(head * D, (head + 1) * D), row * D);
          v.set(token.v.subarray(head * Dv, (head + 1) * Dv), row * Dv);
        }
      }
    }
    const q = normals(B * sizes.Hq * queries * D, this.#random);
    return { problem: { sizes, q, k, v }, q: { data: q, shape: [B, sizes.Hq, queries, D] } };
  }
}
