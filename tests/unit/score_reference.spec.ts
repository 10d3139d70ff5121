import type { AttentionOptions } from "@flashtile/attention";
import {
  referenceAttention,
  referenceAttentionBackward,
  type ReferenceGradients,
  type ReferenceTensor,
} from "@flashtile/attention/reference";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import type { CapturedGradients } from "../../src/reference/backward.ts";
import { differentiateScore, evaluate } from "../../src/reference/scores.ts";
import { captured } from "../../src/scores/captured.ts";
import { traceMask, traceScore } from "../../src/scores/graph.ts";
import type { ScoreFunctions } from "../../src/scores/kinds.ts";
import { where } from "../../src/scores/where.ts";
import { always } from "../support/arbitrary.ts";
import { halfUlp } from "../support/budget.ts";
import { evaluateBounded } from "../support/score_bounds.ts";
import { scoreCases } from "../support/score_functions.ts";
import { longTest, sharedOut } from "../support/share.ts";
import { maskMods, scoreMods } from "../support/written.ts";

type Options = AttentionOptions & ScoreFunctions;

/** The oracle of gradients, with functions among its options. */
const differentiate = (...[dOut, q, k, v]: readonly ReferenceTensor[]) => (options: Options) =>
  referenceAttentionBackward(dOut, q, k, v, options) as ReferenceGradients & CapturedGradients;

/** The oracle, likewise. */
const attend = (...[q, k, v]: readonly ReferenceTensor[]) => (options: Options) =>
  referenceAttention(q, k, v, options);

/** Two float64 computations, of which one was rounded to f32. */
function assertRounded(what: string, actual: ArrayLike<number>, expected: Float32Array): void {
  assertEquals(actual.length, expected.length, what);
  const largest = expected.reduce((a, b) => Number.isFinite(b) ? Math.max(a, Math.abs(b)) : a, 0);
  expected.forEach((x, at) => {
    if (Object.is(x, actual[at])) return;
    const error = Math.abs(actual[at] - x);
    assert(error <= halfUlp(x) + largest * 2 ** -40, `${what} ${at}: ${actual[at]} for ${x}`);
  });
}

for (const { name, read } of sharedOut(scoreCases, 6, "scores")) {
  test(`referenceAttention() agrees with flex_attention on ${name}`, () => {
    const { inputs: { q, k, v, dOut }, functions, results, dCaptured } = read();
    const { out, lse } = attend(q, k, v)(functions);
    assertRounded("out", out.data, results.out.data);
    assertRounded("lse", lse.data, results.lse.data);
    const gradients = differentiate(dOut, q, k, v)(functions);
    for (const what of ["dq", "dk", "dv"] as const) {
      assertRounded(what, gradients[what].data, results[what].data);
    }
    assertEquals(gradients.dCaptured?.size ?? 0, dCaptured.size);
    for (const [array, expected] of dCaptured) {
      assertRounded("dCaptured", gradients.dCaptured!.get(array)!.data, expected.data);
    }
  });
}

const q = { data: [1, 2, 3], shape: [3, 1] };
const k = { data: [1, -1, 0.5, 2], shape: [4, 1] };

test("a score function comes before softcap, bias and masks, and -Infinity masks a key", () => {
  const bias = { data: [0.25], shape: [1, 1] };
  const { lse } = attend(q, k, k)({
    ...{ scale: 1, softcap: 2, bias: bias as never, causal: "top-left" },
    scoreMod: (own, place) => where(place.k.eq(0), -Infinity, own.mul(3)),
  });
  assertEquals(lse.data[0], -Infinity); // The one key that it sees is hidden.
  assertAlmostEquals(lse.data[1], 2 * Math.tanh(-2 * 3 / 2) + 0.25, 1e-12);
});

test("the gradient of what is not taken adds nothing, be it NaN", () => {
  const table = captured(Float32Array.of(1, NaN), [2], { grad: true });
  const dOut = { data: [1, 1, 1], shape: [3, 1] };
  const { dq, dCaptured } = differentiate(dOut, q, k, k)({
    scoreMod: (score, place) => where(place.k.ge(0), score, score.neg().sqrt().mul(table.at(1))),
  });
  assert(dq.data.every(Number.isFinite));
  assertEquals([...dCaptured!.get(table)!.data], [0, 0]);
});

test("rows and keys are counted within their sequence, which is the batch", () => {
  const table = captured(Int32Array.of(0, 1, 2, 3), [2, 2]);
  const { lse } = attend(q, k, k)({
    cuSeqlens: { q: [0, 1, 3], k: [0, 1, 4] },
    scoreMod: (_, place) => table.at(place.b, place.q).toF32().add(place.k.toF32().mul(10)),
  });
  const of = (...scores: number[]) => Math.log(scores.reduce((sum, s) => sum + Math.exp(s), 0));
  const expected = [of(0), of(2, 12, 22), of(3, 13, 23)];
  expected.forEach((x, at) => assertAlmostEquals(lse.data[at], x, 1e-12));
});

/** A place, and a score there. */
const places = fc.record({
  ...{ b: fc.nat(3), h: fc.nat(7), q: fc.nat(40), k: fc.nat(40) },
  // Not so near 0 that products of it are.
  score: fc.integer({ min: -3000, max: 3000 }).map((n) => (n + 0.37) / 1000),
});

test("a function is the same graph at each call", () => {
  fc.assert(
    fc.property(scoreMods(), maskMods(), (scoreMod, maskMod) => {
      const trace = () => traceScore(scoreMod);
      const { structure, literals, nodes } = trace();
      assertEquals(trace().structure, structure);
      assertEquals(trace().literals, literals);
      assertEquals(nodes.at(-1)!.kind, "score");
      assertEquals(traceMask(maskMod).nodes.at(-1)!.kind, "condition");
    }),
    always(200),
  );
});

longTest(
  "the oracle's gradient by a score is what differences say, where it has one",
  () => {
    let smooth = 0;
    fc.assert(
      fc.property(scoreMods(), places, (scoreMod, place) => {
        const graph = traceScore(scoreMod), step = 1e-6;
        const at = (by: number) => evaluate(graph, { ...place, score: place.score + by }).at(-1)!;
        // A step is so near, or so many are, that differences say nothing.
        if (Number.isNaN(evaluateBounded(graph, place, 2 * step).bound)) return;
        const [here, left, right] = [at(0), (at(0) - at(-step)) / step, (at(step) - at(0)) / step];
        const values = evaluate(graph, place),
          slope = differentiateScore(graph, values, 1, () => {});
        const most = 1e-4 * Math.max(1, Math.abs(here), Math.abs(left));
        // A corner, a step or NaN; or a root of 0, also where nothing comes of it.
        if (!(Math.abs(left - right) < most) || !Number.isFinite(slope)) return;
        if (slope !== 0) smooth++;
        assert(
          Math.abs(slope - (left + right) / 2) < 2 * most,
          `${slope}, differences ${left}, ${right}`,
        );
      }),
      always(2000),
    );
    assert(smooth > 200, `${smooth} functions have a slope`);
  },
);
