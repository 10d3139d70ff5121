/**
 * Random problems for the properties: sizes odd, 0, 1 and across the tiles, any rank, layout and
 * strides, the options that change what comes out.
 *
 * @module
 */

import type { AttentionOptions, Layout, Tensor } from "@flashtile/attention";
import fc from "fast-check";
import { broadcastElements, dense, present, type Presentation, retrieve } from "./arrangement.ts";
import {
  type Inputs,
  type Meaning,
  type Problem,
  randomProblem,
  shapesOf,
  type Sizes,
} from "./problem.ts";
import { varyingSeed } from "./seed.ts";
import { share } from "./share.ts";

/** Settings of a property that runs this many times in a whole run. */
export function runs(count: number): fc.Parameters<unknown> {
  return { seed: varyingSeed(), numRuns: share(count) };
}

/** The same of one that takes no time, or counts what it has come to: as often in every run. */
export function always(count: number): fc.Parameters<unknown> {
  return { seed: varyingSeed(), numRuns: count };
}

/** A random problem. A failure prints its sizes and seed, not its numbers. */
export function problemOf(sizes: Sizes, seed: number, spread = 1): Problem {
  return briefly(randomProblem(sizes, seed, spread), { sizes, seed, spread });
}

function briefly(problem: Problem, shown: object): Problem {
  const text = JSON.stringify(shown);
  return Object.defineProperty(problem, fc.toStringMethod, { value: () => text });
}

/** Multiply-adds of a random problem at most: the oracle does some 50 million a second. */
const mostWork = 1_500_000;

// Tiles have 64 rows and 16 to 256 keys; D = Dv = 64 gives 192 keys, 128 gives 96.
const queries = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 24 }) },
  { weight: 3, arbitrary: fc.constantFrom(1, 7, 8, 9, 63, 64, 65, 130) },
  { weight: 1, arbitrary: fc.constant(0) },
);
const keys = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 40 }) },
  { weight: 4, arbitrary: fc.constantFrom(1, 3, 4, 5, 95, 97, 192, 193, 255, 256, 257, 600) },
  { weight: 1, arbitrary: fc.constant(0) },
);
const dim = fc.oneof(
  fc.integer({ min: 1, max: 20 }),
  fc.constantFrom(1, 2, 3, 4, 5, 16, 31, 59, 64, 128, 200),
);
const batches = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: 1, max: 3 }) },
  { weight: 1, arbitrary: fc.constant(0) },
);

/** Multiply-adds of a call. */
export function workOf({ B, Hq, Nq, Nk, D, Dv }: Sizes): number {
  return B * Hq * Nq * Nk * (D + Dv);
}

/** Random sizes; with `rank`, those that a tensor of this rank can have. */
export function sizes(rank = 4): fc.Arbitrary<Sizes> {
  return fc.record({
    B: rank < 4 ? fc.constant(1) : batches,
    Hkv: rank < 3 ? fc.constant(1) : fc.integer({ min: 1, max: 3 }),
    group: rank < 3 ? fc.constant(1) : fc.constantFrom(1, 1, 2, 3, 4, 9, 70),
    Nq: queries,
    Nk: keys,
    D: dim,
    Dv: dim,
  })
    .map(({ group, ...rest }) => ({ ...rest, Hq: rest.Hkv * group }))
    .filter((sizes) => workOf(sizes) <= mostWork);
}

/** Random sizes without an empty axis. */
export const fullSizes: fc.Arbitrary<Sizes> = sizes().filter(({ B, Nq, Nk }) => B * Nq * Nk > 0);

/** Random options that change what comes out, for this many batches. */
export function meaning({ B: batch, Nk }: Pick<Sizes, "B" | "Nk">): fc.Arbitrary<Meaning> {
  const offset = fc.oneof(
    fc.integer({ min: -30, max: 60 }),
    fc.constantFrom(-(2 ** 40), 2 ** 40),
    fc.array(fc.integer({ min: -30, max: 60 }), { minLength: batch, maxLength: batch }),
  );
  const side = fc.oneof(fc.constantFrom(null, Infinity), fc.integer({ min: 0, max: 50 }));
  const count = fc.integer({ min: 1, max: 60 });
  const window: fc.Arbitrary<Meaning["window"]> = fc.oneof(
    { arbitrary: fc.tuple(side, side), weight: 3 },
    { arbitrary: count, weight: 1 },
  );
  const length = fc.oneof(fc.integer({ min: 0, max: Nk }), fc.constant(Nk));
  const lengths = fc.array(length, { minLength: batch, maxLength: batch });
  return fc.record({
    causal: fc.constantFrom<AttentionOptions["causal"]>(
      false,
      true,
      true,
      "top-left",
      "bottom-right",
    ),
    offset: fc.option(offset, { nil: undefined, freq: 2 }),
    scale: fc.option(fc.constantFrom(0.05, 0.37, 1, -0.5, 0), { nil: undefined, freq: 2 }),
    window: fc.option(window, { nil: undefined, freq: 2 }),
    kvLengths: fc.option(lengths, { nil: undefined, freq: 2 }),
  });
}

/** Random strides and offset; of a tensor to write into, no two elements may be one. */
export function arrangement({ broadcast = true } = {}): fc.Arbitrary<Presentation["arrangement"]> {
  const stays = fc.constant([false, false, false, false]);
  const mayStay = fc.array(fc.constantFrom(false, false, false, true), {
    minLength: 4,
    maxLength: 4,
  });
  return fc.oneof(
    fc.constant(dense),
    fc.record({
      order: fc.oneof(
        fc.constant([3, 2, 1, 0]),
        fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4, maxLength: 4 }),
      ),
      gaps: fc.array(fc.constantFrom(0, 0, 1, 3, 4), { minLength: 4, maxLength: 4 }),
      offset: fc.constantFrom(0, 1, 4, 5),
      broadcast: broadcast ? fc.oneof(stays, mayStay) : stays,
    }),
  );
}

/** A problem and how a caller writes it. */
export interface Call {
  readonly problem: Problem;
  readonly meaning: Meaning;
  readonly rank: number;
  readonly layout: Layout;
  readonly arrangements: {
    readonly [Name in "q" | "k" | "v" | "out"]: Presentation["arrangement"];
  };
}

/** Random calls. */
export const calls: fc.Arbitrary<Call> = fc.constantFrom(4, 4, 3, 2).chain((rank) =>
  sizes(rank).chain((sizes) =>
    fc.record({
      seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      meaning: meaning(sizes),
      layout: fc.constantFrom<Layout>("bhnd", "bnhd"),
      q: arrangement(),
      k: arrangement(),
      v: arrangement(),
      out: arrangement({ broadcast: false }),
    }).map(({ seed, meaning, layout, ...arrangements }) => ({
      problem: briefly(broadcastProblem(randomProblem(sizes, seed), arrangements), { sizes, seed }),
      meaning,
      rank,
      layout,
      arrangements,
    }))
  )
);

function broadcastProblem(problem: Problem, arrangements: Call["arrangements"]): Problem {
  const shapes = shapesOf(problem.sizes);
  const { q, k, v } = arrangements;
  return {
    sizes: problem.sizes,
    q: broadcastElements(problem.q, shapes.q, q),
    k: broadcastElements(problem.k, shapes.k, k),
    v: broadcastElements(problem.v, shapes.v, v),
  };
}

/** The tensors of a call as the caller writes them. */
export function presentInputs({ problem, ...call }: Call): Inputs {
  const shapes = shapesOf(problem.sizes);
  const one = (name: "q" | "k" | "v"): Tensor => {
    const presentation = { ...call, arrangement: call.arrangements[name] };
    return present(problem[name], shapes[name], presentation);
  };
  return { q: one("q"), k: one("k"), v: one("v") };
}

/** A tensor for the result of a call to be written into, full of NaN. */
export function presentOut({ problem, ...call }: Call): Tensor {
  const shape = shapesOf(problem.sizes).out;
  const nothing = new Float32Array(shape.reduce((a, b) => a * b)).fill(NaN);
  return present(nothing, shape, { ...call, arrangement: call.arrangements.out });
}

/** The result of a call, dense `[B, Hq, Nq, Dv]`. */
export function outOf({ problem, layout }: Call, out: Tensor): Float32Array {
  return retrieve(out, shapesOf(problem.sizes).out, layout);
}
