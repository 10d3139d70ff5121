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

function nameOf(what: string, { length, heads, dim, causal, threads = 1 }: Square): string {
  const kind = causal ? "causal" : "dense", on = threads === 1 ? "one thread" : "two threads";
  return `${what}, N=${length} H=${heads} D=${dim} ${kind}, ${on}`;
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

const kvHeads = 2, heads = 8, headDim = 128, tokens = 4096;

/** Tokens of a part of a prompt. */
const chunk = 64;

function tokensOf(count: number, seed: number): Tensor {
  return make([1, kvHeads, count, headDim], seed);
}

/** Appends, and forgets what was appended again. */
function append(dtype: CacheDType, count: number): Measure {
  return {
    name: `caches, append ${count} tokens to ${dtype}, one thread`,
    threads: 1,
    prepare(engine) {
      const cache = engine.kvCache({ kvHeads, headDim, dtype });
      const k = tokensOf(count, 1), v = tokensOf(count, 2);
      return () => {
        cache.append(k, v);
        cache.truncate(0, 0);
      };
    },
  };
}

/** Attends to many tokens with some queries. */
function attend(what: string, dtype: CacheDType, queries: number, threads = 1): Measure {
  const on = threads === 1 ? "one thread" : "two threads";
  return {
    name: `caches, ${what} against ${tokens} tokens in ${dtype}, ${on}`,
    threads,
    prepare(engine) {
      const cache = engine.kvCache({ kvHeads, headDim, dtype });
      cache.append(tokensOf(tokens, 1), tokensOf(tokens, 2));
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
    attend("decode", dtype, 1),
    attend("decode", dtype, 1, 2),
    attend(`prefill ${chunk}`, dtype, chunk),
  ]),
];

/** What is measured of a process that starts. */
export const start = "start, from import to a first result";
