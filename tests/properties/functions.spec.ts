import type { Engine } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertEquals, AssertionError } from "@std/assert";
import fc from "fast-check";
import { traceScore } from "../../src/scores/graph.ts";
import { backends, type BackendUnderTest, contract } from "../contract/backends.ts";
import { meaning, problemOf, runs } from "../support/arbitrary.ts";
import { boundsOf, gradientBoundsOf, secondOrder, withoutUnknown } from "../support/call_bounds.ts";
import { exactGradients, gradientCall, gradientsOf } from "../support/gradients.ts";
import { boundariesOf } from "../support/plan.ts";
import { count, inputsOf, type Meaning, type Problem, type Sizes } from "../support/problem.ts";
import { unit } from "../support/score_bounds.ts";
import { someFunctions } from "../support/written.ts";

/** On the CPU, whose curves are as exact as the bounds have them. */
const needs = ["functions", "attentionSync"] as const;

/** Sizes around a panel and a tile, most of them small: the oracle takes a microsecond for each operation of each score. */
const sizes = (work: number): fc.Arbitrary<Sizes> =>
  fc.record({
    ...{ B: fc.integer({ min: 1, max: 2 }), Hkv: fc.integer({ min: 1, max: 2 }) },
    group: fc.constantFrom(1, 1, 2, 3),
    Nq: fc.constantFrom(1, 3, 8, 9, 17, 40, 65),
    Nk: fc.constantFrom(1, 5, 8, 23, 40, 100, 200, 300),
    ...{ D: fc.integer({ min: 1, max: 12 }), Dv: fc.integer({ min: 1, max: 6 }) },
  }).map(({ group, ...rest }) => ({ ...rest, Hq: rest.Hkv * group }))
    .filter(({ B, Hq, Nq, Nk }) => B * Hq * Nq * Nk <= work);

/** Options beside them: those of any call, or sequences that are packed. */
const options = (sizes: Sizes): fc.Arbitrary<Meaning> => {
  const { Nq, Nk } = sizes;
  const packed = fc.record({ q: fc.nat(Nq), k: fc.nat(Nk), causal: fc.boolean() })
    .map(({ q, k, causal }): Meaning => ({
      ...{ causal, cuSeqlens: boundariesOf([[q, k], [Nq - q, Nk - k]]) },
    }));
  const batched = { weight: 4, arbitrary: meaning(sizes) };
  return sizes.B > 1 ? batched.arbitrary : fc.oneof(batched, { weight: 1, arbitrary: packed });
};

interface Case {
  readonly problem: Problem;
  readonly meaning: Meaning;
}

const cases = (work: number): fc.Arbitrary<Case> =>
  sizes(work).chain((own) =>
    fc.record({ seed: fc.nat(), options: options(own), functions: someFunctions })
      .map(({ seed, options, functions }) => ({
        problem: problemOf(own, seed),
        meaning: { ...options, ...functions },
      }))
  );

/** Calls, and the parts of their rows that are compared: of others nothing is known. */
class Tally {
  calls = 0;
  compared = 0;

  count(bounds: readonly unknown[]): void {
    this.calls++;
    this.compared += bounds.filter((one) => one !== undefined).length / bounds.length;
  }

  /** Asserts that most are compared. */
  check(): void {
    assert(this.compared > this.calls / 2, `${this.compared} of ${this.calls} calls are compared`);
  }
}

/** Each backend has functions of its own. */
function ownRuns(count: number, backend: BackendUnderTest): fc.Parameters<unknown> {
  const { seed, ...rest } = runs(count);
  return { ...rest, seed: seed! + backends.indexOf(backend) };
}

/** Throws where a number is farther from the exact one than rounding takes it. */
function assertBounded(what: string, actual: number, exact: number, bound: number): void {
  if (Object.is(actual, exact) || (actual === 0 && exact === 0)) return;
  const most = secondOrder * bound + unit * Math.abs(exact) + 2 ** -120;
  if (Math.abs(actual - exact) <= most && Number.isFinite(most)) return;
  throw new AssertionError(`${what} is ${actual}, expected ${exact} but for ${most}`);
}

async function assertForward(
  engine: Engine,
  { problem, meaning }: Case,
  tally: Tally,
): Promise<void> {
  const { q, k, v } = inputsOf(problem), { Dv } = problem.sizes;
  const exact = referenceAttention(q, k, v, meaning), { bounds } = boundsOf(problem, meaning);
  const { out, lse } = await engine.attention(q, k, v, { ...meaning, lse: true });
  tally.count(bounds);
  bounds.forEach((row, at) => {
    if (row === undefined) return;
    assertBounded(`lse of row ${at}`, lse.data[at], exact.lse.data[at], row.lse.e);
    row.outBounds.forEach((bound, d) => {
      const place = at * Dv + d;
      assertBounded(`out of row ${at}, ${d}`, out.data[place], exact.out.data[place], bound);
    });
  });
}

async function assertGradients(
  engine: Engine,
  { problem, meaning: asked }: Case,
  tally: Tally,
): Promise<void> {
  const all = boundsOf(problem, asked, true);
  tally.count(all.bounds);
  const { meaning, call: known } = withoutUnknown(problem, asked, all);
  const call = gradientCall(problem, meaning, 3), exact = exactGradients(call);
  const bounds = gradientBoundsOf(problem, known, call.cotangents);
  const own = await gradientsOf(engine, call);
  const check = (name: "dq" | "dk" | "dv" | "dArrays", limits: ArrayLike<number>) => {
    const [ours, wanted] = [own, exact].map((gradients) => gradients[name] ?? []);
    assertEquals(ours.length, wanted.length, name);
    for (let at = 0; at < wanted.length; at++) {
      assertBounded(`${name} ${at}`, ours[at], wanted[at], limits[at]);
    }
  };
  for (const name of ["dq", "dk", "dv"] as const) check(name, bounds[name]);
  const asking = meaning.scoreMod
    ? traceScore(meaning.scoreMod).arrays.filter(({ grad }) => grad)
    : [];
  check(
    "dArrays",
    asking.flatMap((
      array,
    ) => [...bounds.arrays.get(array) ?? new Float64Array(count(array.shape))]),
  );
}

contract("gradients of any functions are as exact as f32 allows", async (engine, backend) => {
  const tally = new Tally();
  await fc.assert(
    fc.asyncProperty(cases(2000), (one) => assertGradients(engine, one, tally)),
    ownRuns(120, backend),
  );
  tally.check();
}, { daily: 1 / 3, needs: [...needs, "backward"] });

contract(
  "attention() does what any functions do, as exactly as f32 allows",
  async (engine, backend) => {
    const tally = new Tally();
    await fc.assert(
      fc.asyncProperty(cases(6000), (one) => assertForward(engine, one, tally)),
      ownRuns(300, backend),
    );
    tally.check();
  },
  { daily: 1 / 3, needs },
);
