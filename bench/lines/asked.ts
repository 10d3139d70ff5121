/**
 * The lines: what is timed beside what, and how many times as fast it has to be.
 *
 * @module
 */

import { flashtile } from "../peers/flashtile.ts";
import { naive } from "../peers/naive.ts";
import { nativeAttention, webAttention, webMultiHeadAttention } from "../peers/onnxruntime.ts";
import type { Shape } from "../peers/problem.ts";
import { precisions } from "../precisions.ts";
import type { Entrant } from "./entrants.ts";
import type { Asked, RuntimeName } from "./processes.ts";
import type { Processor } from "./processor.ts";

/** How many times as fast one entrant has to be as another. */
export interface Line {
  readonly what: string;
  /** Their places among those that are timed. */
  readonly faster: number;
  readonly slower: number;
  readonly asked: number;
}

/** What is timed together. */
export interface Race extends Asked {
  readonly runtime: RuntimeName;
  /** Says what lines are asked where bytes are multiplied by one instruction, or are not. */
  lines(fused: boolean): readonly Line[];
}

/** The same entrants in processes with and without wide kernels. */
export interface WidePairs {
  readonly entrants: readonly Entrant[];
  readonly lines: readonly { readonly what: string; readonly asked: number }[];
}

function square(length: number, dim = 64, { heads = 8, causal = false } = {}): Shape {
  return { heads, dim, queries: length, keys: length, causal };
}

function nameOf({ queries, keys, heads, dim, causal }: Shape): string {
  const length = queries === keys ? `N=${keys}` : `${queries} against ${keys} keys`;
  return `${length} H=${heads} D=${dim}${causal ? " causal" : ""}`;
}

/** This library by its public interface, as peers are loaded. */
function ours(shape: Shape): Entrant {
  return { kind: "peer", peer: flashtile.name, shape };
}

function theirs({ name }: { readonly name: string }, shape: Shape): Entrant {
  return { kind: "peer", peer: name, shape };
}

function few(queries: number, overPeer: number, overLoop: number): Race {
  const shape = { ...square(8192), queries };
  const over = (slower: number, name: string, asked: number): Line => {
    return { what: `${nameOf(shape)}, over ${name}`, faster: 0, slower, asked };
  };
  return {
    runtime: "deno",
    entrants: [ours(shape), theirs(webAttention, shape), theirs(naive, shape)],
    lines: () => [over(1, webAttention.name, overPeer), over(2, "a plain loop", overLoop)],
  };
}

function overWeb(shape: Shape, asked: number, threads = 1, peer = webAttention): Race {
  const on = threads === 1 ? "" : `, ${threads} threads`;
  return {
    runtime: "deno",
    threads,
    // Its threads spin for 25 ms after a call.
    rest: threads === 1 ? 5 : 50,
    entrants: [ours(shape), theirs(peer, shape)],
    lines:
      () => [{ what: `${nameOf(shape)}${on}, over ${peer.name}`, faster: 0, slower: 1, asked }],
  };
}

/** Every precision over f32. */
function integers(
  runtime: RuntimeName,
  shape: Shape,
  asked: (fused: boolean) => readonly number[],
): Race {
  const chosen = precisions.slice(0, 1 + asked(false).length);
  return {
    runtime,
    entrants: chosen.map((precision): Entrant => ({ kind: "call", shape, precision, into: true })),
    lines: (fused) =>
      asked(fused).map((least, at) => ({
        what: `${chosen[at + 1]} over f32, ${nameOf(shape)}, ${runtime}`,
        ...{ faster: at + 1, slower: 0, asked: least },
      })),
  };
}

const sizes = [square(2048, 64, { heads: 2 }), square(2048, 128, { heads: 2 })];
const integerShapes = [...sizes, square(2048, 64, { heads: 2, causal: true })];

const usual = square(1024);

/** Everything that is raced in one process at a time. */
export function racesFor({ avx512 }: Processor): Race[] {
  const native = avx512 ? [0.6, 0.8, 1.2] : [0.9, 1.2, 1.6],
    chosen = ["f32", "int16", "int8"] as const;
  const threaded = square(2048);
  return [
    ...[few(1, 2.2, 2.5), few(4, 2.2, 8), few(16, 2, 15)],
    overWeb(square(64), 1.3, 1, webMultiHeadAttention),
    {
      runtime: "deno",
      entrants: [{ kind: "tile", shape: square(128) }, {
        kind: "call",
        shape: square(128),
        into: true,
      }],
      lines: () => [{
        what: `${nameOf(square(128))}, share of the tile`,
        faster: 1,
        slower: 0,
        asked: 0.8,
      }],
    },
    ...[1, 2].flatMap((threads) => {
      const asked = threads === 1 ? [1.6, 3.2, 1.5, 3.3] : [1.6, 3, 1.6, 3.1];
      return [
        usual,
        square(1024, 64, { causal: true }),
        square(2048, 128, { heads: 4 }),
        square(2048, 64, { causal: true }),
      ].map((shape, at) => overWeb(shape, asked[at], threads));
    }),
    {
      runtime: "deno",
      entrants: [2, 1].map((threads) => ({ kind: "call", shape: threaded, threads })),
      lines: () => [{
        what: `${nameOf(threaded)}, two threads over one`,
        faster: 0,
        slower: 1,
        asked: 1.9,
      }],
    },
    ...integerShapes.flatMap((shape) => [
      integers("deno", shape, (fused) => fused ? [1.3, 1.45, 2] : [1.3, 1.35, 1.55]),
      integers("bun", shape, () => [1.8, 1.9, 2.1]),
    ]),
    integers("webkit", sizes[0], () => [1.6]),
    integers("node20", sizes[0], () => [1.5]),
    {
      runtime: "deno",
      entrants: [
        ...(["int16", "int8"] as const).map((precision): Entrant => ({
          ...{ kind: "call", shape: usual, precision },
        })),
        theirs(webAttention, usual),
      ],
      lines: (fused) =>
        [["int16", 2.2], ["int8", fused ? 3 : 2.6]].map(([name, asked], faster) => ({
          what: `${name}, ${nameOf(usual)}, over ${webAttention.name}`,
          ...{ faster, slower: 2, asked: Number(asked) },
        })),
    },
    {
      runtime: "node26",
      wide: true,
      entrants: [ours(usual), theirs(webAttention, usual)],
      lines: () => [{
        what: `wide, ${nameOf(usual)}, over ${webAttention.name}`,
        ...{ faster: 0, slower: 1, asked: 2.5 },
      }],
    },
    {
      runtime: "node26",
      wide: true,
      entrants: [
        ...chosen.map((precision): Entrant => ({ kind: "call", shape: usual, precision })),
        theirs(nativeAttention, usual),
      ],
      lines: () =>
        chosen.map((name, faster) => ({
          what: `wide, ${name}, ${nameOf(usual)}, over ${nativeAttention.name}`,
          ...{ faster, slower: 3, asked: native[faster] },
        })),
    },
  ];
}

/** Wide over narrow. */
export function widePairsFor({ zen3 }: Processor): WidePairs {
  const shapes = [usual, square(1024, 128), square(4096, 64, { heads: 2, causal: true })];
  const asked = zen3 ? [1.5, 1.5, 1.4, 1.3] : [1.7, 1.8, 1.6, 1.5];
  const gradients = square(2048, 64, { heads: 2 });
  const steps = [["f32", 4], ["f32", 1], ["int8", 4], ["int8", 1]] as const;
  return {
    entrants: [
      ...shapes.map((shape): Entrant => ({ kind: "call", shape, into: true })),
      { kind: "gradients", shape: gradients },
      ...steps.map(([dtype, group]): Entrant => ({ kind: "step", dtype, group })),
    ],
    lines: [
      ...shapes.map((shape, at) => ({
        what: `wide over narrow, ${nameOf(shape)}`,
        asked: asked[at],
      })),
      { what: `wide over narrow, gradients, ${nameOf(gradients)}`, asked: asked[3] },
      ...steps.map(([dtype, group]) => ({
        what: `wide over narrow, a step against ${dtype}, ${group} heads on one of keys`,
        asked: 1,
      })),
    ],
  };
}

/** Most relative errors of each level of `precision`, and of causal ones. */
export const mostErrors = { int16: 4e-4, "int8-qk": 1.5e-2, int8: 2.2e-2 } as const;
export const causalErrors = 1.5;
