/**
 * What two checkouts are compared in, by what is public in both.
 *
 * @module
 */

import type { AttentionOptions, CacheDType, Engine, Tensor } from "../../mod.ts";
import { numbers } from "../numbers.ts";

/** Something to time on an engine. */
export interface Measure {
  readonly name: string;
  readonly threads: number;
  /** Makes what a run needs. */
  prepare(engine: Engine): Promise<() => unknown> | (() => unknown);
}

/** Self-attention of one sequence. */
interface Square {
  readonly length: number;
  readonly heads: number;
  readonly dim: number;
  readonly causal?: boolean;
  readonly threads?: number;
}

function make(shape: readonly number[], seed: number): Tensor {
  return { data: numbers(shape.reduce((size, extent) => size * extent, 1), seed), shape };
}

/** Threads, as names say them. */
function onThreads(threads: number): string {
  return threads === 1 ? "one thread" : "two threads";
}

function nameOf(what: string, { length, heads, dim, causal, threads = 1 }: Square): string {
  const kind = causal ? "causal" : "dense";
  return `${what}, N=${length} H=${heads} D=${dim} ${kind}, ${onThreads(threads)}`;
}

function inputsOf({ length, heads, dim }: Square): [q: Tensor, k: Tensor, v: Tensor] {
  const shape = [heads, length, dim];
  return [make(shape, 1), make(shape, 2), make(shape, 3)];
}

function forward(square: Square): Measure {
  const { causal, threads = 1 } = square, options: AttentionOptions = { causal };
  return {
    name: nameOf("forward", square),
    threads,
    prepare(engine) {
      const [q, k, v] = inputsOf(square);
      return () => engine.attention(q, k, v, options);
    },
  };
}

/** Few queries against many keys in arrays. */
function few(queries: number, threads = 1): Measure {
  const heads = 8, dim = 64, keys = [heads, 8192, dim], on = onThreads(threads);
  return {
    name: `few queries, ${queries} against 8192 keys, H=${heads} D=${dim} dense, ${on}`,
    threads,
    prepare(engine) {
      const q = make([heads, queries, dim], 1), k = make(keys, 2), v = make(keys, 3);
      return () => engine.attention(q, k, v);
    },
  };
}

function backward(square: Square): Measure {
  const { causal, threads = 1 } = square;
  return {
    name: nameOf("backward", square),
    threads,
    async prepare(engine) {
      const [q, k, v] = inputsOf(square), dOut = make(q.shape, 4);
      const { out, lse } = await engine.attention(q, k, v, { causal, lse: true });
      return () => engine.attentionBackward(dOut, q, k, v, { causal, out, lse });
    },
  };
}

/** A cache and who attends to it. */
interface Past {
  readonly kvHeads: number;
  /** Query heads for each of them. */
  readonly group: number;
  readonly tokens: number;
}

/** What the second or third cache of a processor holds, and what is in memory alone, 268 MB in f32. */
const near: Past = { kvHeads: 2, group: 4, tokens: 4096 };
const far: Past = { kvHeads: 8, group: 4, tokens: 32_768 };

const headDim = 128;

/** Tokens of a part of a prompt, and of a part that a long cache is filled with. */
const chunk = 64, filling = 4096;

function tokensOf({ kvHeads }: Past, count: number, seed: number): Tensor {
  return make([1, kvHeads, count, headDim], seed);
}

/** Appends, and forgets what was appended again. */
function append(dtype: CacheDType, count: number): Measure {
  return {
    name: `caches, append ${count} tokens to ${dtype}, one thread`,
    threads: 1,
    prepare(engine) {
      const cache = engine.kvCache({ kvHeads: near.kvHeads, headDim, dtype });
      const k = tokensOf(near, count, 1), v = tokensOf(near, count, 2);
      return () => {
        cache.append(k, v);
        cache.truncate(0, 0);
      };
    },
  };
}

/** Attends to many tokens with some queries. */
function attend(
  what: string,
  dtype: CacheDType,
  { kvHeads, group, tokens }: Past,
  { queries = 1, threads = 1 } = {},
): Measure {
  const on = onThreads(threads), heads = kvHeads * group;
  const by = group === 1 ? `${heads} heads` : `${heads} heads on ${kvHeads}`;
  return {
    name: `caches, ${what} against ${tokens} tokens in ${dtype}, ${by}, ${on}`,
    threads,
    prepare(engine) {
      const cache = engine.kvCache({ kvHeads, headDim, dtype }), some = Math.min(tokens, filling);
      const k = tokensOf({ kvHeads, group, tokens }, some, 1);
      for (let first = 0; first < tokens; first += some) cache.append(k, k);
      const q = make([1, heads, queries, headDim], 3);
      return () => cache.attend(q, { causal: true });
    },
  };
}

/** What is measured of an engine that goes on for long. */
export const measures: readonly Measure[] = [
  forward({ length: 16, heads: 1, dim: 64 }),
  forward({ length: 16, heads: 8, dim: 64 }),
  forward({ length: 16, heads: 8, dim: 64, threads: 2 }),
  // A head for each thread: the shorter a call, the likelier one is that nothing disturbs.
  ...[1, 2].flatMap((threads) => [
    forward({ length: 1024, heads: threads, dim: 64, threads }),
    forward({ length: 1024, heads: threads, dim: 64, causal: true, threads }),
  ]),
  ...[1, 4, 16].map((queries) => few(queries)),
  ...[1, 16].map((queries) => few(queries, 2)),
  forward({ length: 1024, heads: 1, dim: 128 }),
  forward({ length: 1024, heads: 1, dim: 128, causal: true }),
  ...[1, 2].flatMap((threads) => [
    forward({ length: 4096, heads: 1, dim: 64, threads }),
    forward({ length: 4096, heads: 1, dim: 64, causal: true, threads }),
  ]),
  backward({ length: 16, heads: 8, dim: 64 }),
  backward({ length: 1024, heads: 1, dim: 64 }),
  backward({ length: 1024, heads: 1, dim: 64, causal: true }),
  backward({ length: 1024, heads: 2, dim: 64, threads: 2 }),
  backward({ length: 1024, heads: 1, dim: 128 }),
  ...(["f32", "int8"] as const).flatMap((dtype) => [
    append(dtype, 1),
    append(dtype, 1024),
    attend("decode", dtype, near),
    attend("decode", dtype, near, { threads: 2 }),
    attend(`prefill ${chunk}`, dtype, near, { queries: chunk }),
  ]),
  ...(["f32", "bf16"] as const).flatMap((dtype) => [
    attend("decode", dtype, far),
    attend("decode", dtype, { ...far, group: 1 }),
  ]),
];

/** What is measured of a process that starts. */
export const start = "start, from import to a first result";
