/**
 * What the lines are measured by: calls of this library and of its peers, each ready to be timed again and again.
 *
 * @module
 */

import {
  type CacheDType,
  createEngine,
  type Engine,
  type Precision,
  type Tensor,
} from "../../mod.ts";
import { loadCeiling } from "../ceiling.ts";
import { numbers } from "../numbers.ts";
import { peerNamed } from "../peers/all.ts";
import type { Setup } from "../peers/peer.ts";
import { check, problemOf, type Shape, workOf } from "../peers/problem.ts";

/** Something to time, as it is told a child. */
export type Entrant =
  /** A peer's call, from arrays to an array; the first result is checked. */
  | { readonly kind: "peer"; readonly peer: string; readonly shape: Shape }
  /** This library's. */
  | {
    readonly kind: "call";
    readonly shape: Shape;
    readonly threads?: number;
    readonly precision?: Precision;
    /** Whether it returns at once, into an array that is there; else it makes one, as peers do. */
    readonly into?: boolean;
  }
  | { readonly kind: "gradients"; readonly shape: Shape }
  /** A step of decoding against 4,096 tokens of two key heads. */
  | { readonly kind: "step"; readonly dtype: CacheDType; readonly group: number }
  /** The micro-kernel alone, as many operations as a call of the shape has. */
  | { readonly kind: "tile"; readonly shape: Shape };

/** One that is ready. */
export interface Ready {
  run(): unknown;
  /** What a run's time is multiplied by. */
  readonly factor: number;
}

const engines = new Map<number, Promise<Engine>>();

function engineOf(threads: number): Promise<Engine> {
  const engine = engines.get(threads) ?? createEngine({ backend: "wasm", threads });
  engines.set(threads, engine);
  return engine;
}

/** Says what the engine of one thread runs by. */
export async function reasonOf(): Promise<string> {
  return (await engineOf(1)).reason;
}

function make(shape: readonly number[], seed: number): Tensor {
  return { data: numbers(shape.reduce((size, extent) => size * extent, 1), seed), shape };
}

function inputsOf({ heads, queries, keys, dim }: Shape): [q: Tensor, k: Tensor, v: Tensor] {
  return [
    make([heads, queries, dim], 1),
    make([heads, keys, dim], 2),
    make([heads, keys, dim], 3),
  ];
}

async function callOf(
  { shape, threads = 1, precision, into }: Extract<Entrant, { kind: "call" }>,
): Promise<Ready> {
  const engine = await engineOf(threads), [q, k, v] = inputsOf(shape), { causal } = shape;
  if (precision !== undefined) await engine.warmup({ precision });
  const options = precision === undefined ? { causal } : { causal, precision };
  if (!into) return { factor: 1, run: () => engine.attention(q, k, v, options) };
  const out = { data: new Float32Array(q.data.length), shape: q.shape };
  return { factor: 1, run: () => engine.attentionSync(q, k, v, { ...options, out }) };
}

async function gradientsOf(shape: Shape): Promise<Ready> {
  const engine = await engineOf(1), [q, k, v] = inputsOf(shape), dOut = make(q.shape, 4);
  const { causal } = shape, { out, lse } = await engine.attention(q, k, v, { causal, lse: true });
  return {
    factor: 1,
    run: () => engine.attentionBackward(dOut, q, k, v, { causal, out, lse }),
  };
}

const cached = { tokens: 4096, kvHeads: 2, headDim: 128 };

async function stepOf(dtype: CacheDType, group: number): Promise<Ready> {
  const engine = await engineOf(1), { tokens, kvHeads, headDim } = cached;
  const cache = engine.kvCache({ kvHeads, headDim, dtype });
  const k = make([1, kvHeads, tokens, headDim], 1);
  cache.append(k, k);
  const q = make([1, kvHeads * group, 1, headDim], 2);
  return { factor: 1, run: () => cache.attend(q) };
}

async function peerOf(name: string, shape: Shape, setup: Setup): Promise<Ready> {
  const problem = problemOf(shape), prepared = await peerNamed(name).load(problem, setup);
  check(problem, await prepared.run(), prepared.layout);
  return { factor: 1, run: () => prepared.run() };
}

async function tileOf(shape: Shape): Promise<Ready> {
  const { work, run } = (await loadCeiling())(shape.dim);
  return { factor: workOf(shape) / work, run };
}

/** Gets one ready. */
export function prepare(entrant: Entrant, setup: Setup): Promise<Ready> {
  switch (entrant.kind) {
    case "peer":
      return peerOf(entrant.peer, entrant.shape, setup);
    case "call":
      return callOf(entrant);
    case "gradients":
      return gradientsOf(entrant.shape);
    case "step":
      return stepOf(entrant.dtype, entrant.group);
    case "tile":
      return tileOf(entrant.shape);
  }
}
