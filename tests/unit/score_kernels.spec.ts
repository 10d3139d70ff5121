import { assert } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { type Graph, traceMask, traceScore } from "../../src/scores/graph.ts";
import type { MaskMod, ScoreMod } from "../../src/scores/kinds.ts";
import { compile } from "../../src/scores/program.ts";
import { relaxed, simd } from "../asm/score_program.gen.ts";
import { always } from "../support/arbitrary.ts";
import { loadMeasuring } from "../support/measuring.ts";
import { normals, seeded } from "../support/random.ts";
import { ScoreBinary, type ScoreExports } from "../support/score_binary.ts";
import { scoreCases } from "../support/score_functions.ts";
import { type Kernels, ScoreMachine, type TilePlace } from "../support/score_machine.ts";
import { someFunctions } from "../support/written.ts";
import { longTest } from "../support/share.ts";

const round = Math.fround;

/** What the kernels are: each operation rounded to f32, its curves as they are in the binary. */
function roundedBy({ expOf, logOf, sigmoidOf, tanhOf }: ScoreExports): Kernels {
  const quotient = (a: number, b: number) => Math.floor(round(a / b));
  return {
    ...{ add: (a, b) => round(a + b), sub: (a, b) => round(a - b), mul: (a, b) => round(a * b) },
    ...{ div: (a, b) => round(a / b), floorDiv: quotient, sqrt: (a) => round(Math.sqrt(a)) },
    ...{ mod: (a, b) => round(a - round(b * quotient(a, b))), toF32: round },
    ...{ exp: expOf, log: logOf, sigmoid: sigmoidOf, tanh: tanhOf },
    fma: (a, b, c) => round(round(a * b) + c),
  };
}

const exports = loadMeasuring<ScoreExports>(simd)!;
const rounded = roundedBy(exports);

/** Literals among scores are numbers of f32 there. */
function withRounded(graph: Graph): Graph {
  // A parameter of other operations is the number of an array.
  const scores = new Set(
    graph.nodes.filter(({ kind, operation }) => kind === "score" && operation === "literal")
      .map(({ parameter }) => parameter),
  );
  return { ...graph, literals: graph.literals.map((x, at) => scores.has(at) ? round(x) : x) };
}

/** Asserts that programs have the same bits in Wasm as where each operation is rounded. */
function assertSame(
  scoreMod: ScoreMod | undefined,
  maskMod: MaskMod | undefined,
  place: TilePlace,
): void {
  const score = scoreMod && traceScore(scoreMod), mask = maskMod && traceMask(maskMod);
  const { queries, keys } = place, program = compile(score, mask), graphs = { score, mask };
  const own = score && withRounded(score), masks = mask && withRounded(mask);
  const scores = normals(queries * keys, seeded(place.query));
  const machine = new ScoreMachine(program, { score: own, mask: masks }, place, rounded);
  const expected = machine.run(Float64Array.from(scores));
  const got = new ScoreBinary(exports, program, graphs, { queries, keys, chunk: 8 }).run(
    scores,
    place,
  );
  const wrong = got.findIndex((x, at) => !Object.is(x, expected[at]));
  assert(wrong < 0, `score ${wrong} is ${got[wrong]}, expected ${expected[wrong]}`);
}

const places = fc.record({
  ...{ b: fc.nat(2), h: fc.nat(3), query: fc.nat(40), key: fc.nat(40) },
  ...{ queries: fc.constantFrom(8, 16), keys: fc.constantFrom(8, 24) },
});

longTest(
  "kernels of score programs have the bits of operations that are rounded one by one",
  () => {
    fc.assert(
      fc.property(someFunctions, places, ({ scoreMod, maskMod }, place) => {
        assertSame(scoreMod, maskMod, place);
      }),
      always(300),
    );
  },
);

longTest(
  "kernels do what functions do that people write",
  () => {
    for (const { read } of scoreCases) {
      const { functions: { scoreMod, maskMod } } = read();
      for (const [query, key] of [[0, 0], [24, 16]]) {
        assertSame(scoreMod, maskMod, { b: 1, h: 2, query, key, queries: 16, keys: 24 });
      }
    }
  },
);

/** The largest error of a curve in units of the last place, over numbers of a range. */
function worstOf(
  curve: (x: number) => number,
  exact: (x: number) => number,
  from: number,
  to: number,
): number {
  const random = seeded(7);
  let worst = 0;
  for (let at = 0; at < 20_000; at++) {
    const x = round(from + (to - from) * random()), y = exact(x);
    const ulp = 2 ** Math.max(Math.floor(Math.log2(Math.abs(y))) - 23, -149);
    worst = Math.max(worst, Math.abs(curve(x) - y) / ulp);
  }
  return worst;
}

for (const [name, base64] of Object.entries({ simd, relaxed })) {
  const own = loadMeasuring<ScoreExports>(base64);
  const skip = own === undefined && "this engine has no relaxed SIMD";
  test(`curves of score functions are off by at most 3 ULP (${name})`, { skip }, () => {
    const { expOf, logOf, sigmoidOf } = own!;
    const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
    for (const [from, to] of [[-87, 88], [-1, 1], [-1e-3, 1e-3]]) {
      const worst = [worstOf(expOf, Math.exp, from, to), worstOf(sigmoidOf, sigmoid, from, to)];
      assert(Math.max(...worst) <= 3, `exp, sigmoid of ${from} to ${to}: ${worst}`);
    }
    for (const [from, to] of [[1e-37, 1e-3], [0.01, 0.9], [1.1, 3], [3, 1e30]]) {
      const worst = worstOf(logOf, Math.log, from, to);
      assert(worst <= 3, `log of ${from} to ${to}: ${worst}`);
    }
  });

  test(`curves of score functions are right where they end (${name})`, { skip }, () => {
    const { expOf, logOf, sigmoidOf } = own!;
    const ends: readonly (readonly [(x: number) => number, number, number])[] = [
      ...([[0, 1], [-Infinity, 0], [Infinity, Infinity], [-200, 0], [100, Infinity], [
        NaN,
        NaN,
      ]] as const)
        .map(([x, y]) => [expOf, x, y] as const),
      ...([[1, 0], [0, -Infinity], [Infinity, Infinity], [-1, NaN], [-Infinity, NaN], [
        NaN,
        NaN,
      ]] as const)
        .map(([x, y]) => [logOf, x, y] as const),
      ...([[0, 0.5], [-Infinity, 0], [Infinity, 1], [NaN, NaN], [-200, 0]] as const)
        .map(([x, y]) => [sigmoidOf, x, y] as const),
    ];
    for (const [curve, x, y] of ends) {
      assert(Object.is(curve(x), y), `${curve.name} of ${x}: ${curve(x)}`);
    }
  });
}
