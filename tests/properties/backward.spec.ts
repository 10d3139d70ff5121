import type { Engine } from "@flashtile/attention";
import fc from "fast-check";
import { backends, contract } from "../contract/backends.ts";
import { fullSizes, problemOf, runs, workOf } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { resultsOf } from "../support/exact.ts";
import { gpuRequired } from "../support/gpu.ts";
import {
  assertGradientsWithinBudget,
  eachGradient,
  exactGradients,
  type GradientCall,
  gradientCall,
  gradientNames,
  type Gradients,
  gradientsOf,
  keptGradientsOf,
  naiveGradients,
} from "../support/gradients.ts";
import { meaningOf } from "../support/meaning.ts";
import { oncePerKey } from "../support/once.ts";
import { count, type Meaning, type Problem, type Sizes } from "../support/problem.ts";
import { seeded, whole } from "../support/random.ts";
import { varyingSeed } from "../support/seed.ts";
import { share } from "../support/share.ts";
import { anyMeaning } from "../support/terms.ts";

/** Random combinations on the CPU, over all of its backends, and on a GPU. */
const onCpu = 600, onGpu = 60;

const cpuBackends =
  backends.filter(({ name, unavailable }) => name !== "webgpu" && unavailable === undefined).length;

const numRuns = gpuRequired ? onGpu : share(Math.ceil(onCpu / cpuBackends));

/** Rows, keys and elements of each gradient over which errors are taken: over a few, naive is exact by luck. */
const least = 64;

/** Multiply-adds of a case at most. */
const mostWork = 1_000_000;

/** How many problems a case needs for that. */
function problemsFor(sizes: Sizes, meaning: Meaning): number {
  const { B, Hq, Hkv, Nq, Nk } = sizes, { bias, sinks } = meaning;
  const elements = [bias?.shape, sinks?.shape].flatMap((shape) => shape ? [count(shape)] : []);
  const ofSizes = Math.ceil(least / Math.min(B * Hq * Nq, B * Hkv * Nk, ...elements));
  return Math.max(ofSizes, Math.min(8, Math.ceil(least / chosen(sizes, meaning))));
}

/** Each row of a call by its number, with where it is and what it means. */
function* rowsOf(problem: Problem, meaning: Meaning) {
  const { B, Hq, Nq } = problem.sizes, rowMeaning = meaningOf(problem, meaning);
  for (let row = 0; row < B * Hq * Nq; row++) {
    const head = Math.floor(row / Nq), b = Math.floor(head / Hq), h = head % Hq;
    yield { row, b, h, ...rowMeaning(b, h, row % Nq) };
  }
}

/** Rows that choose between keys, at least 1: others have no gradient, and no error. */
function chosen(sizes: Sizes, meaning: Meaning): number {
  let rows = 0;
  for (const { sees, sink } of rowsOf(problemOf(sizes, 0), meaning)) {
    let seen = sink > -Infinity ? 1 : 0;
    for (let j = 0; j < sizes.Nk && seen < 2; j++) if (sees(j)) seen++;
    if (seen === 2) rows++;
  }
  return Math.max(1, rows);
}

/** Several problems of the same sizes and options; a batch of one may be packed. */
const cases = fullSizes
  .chain((sizes) =>
    fc.record({ seed: fc.nat(), asked: anyMeaning(sizes) }).map(({ seed, asked }) => ({
      ...{ sizes, seed, asked, problems: problemsFor(sizes, asked.meaning) },
    }))
  )
  .filter(({ sizes, problems }) => workOf(sizes) * problems <= mostWork);

type Case = typeof cases extends fc.Arbitrary<infer T> ? T : never;

/** The calls of a case. */
function callsOf({ sizes, seed, asked, problems }: Case): GradientCall[] {
  return Array.from(
    { length: problems },
    (_, at) => gradientCall(problemOf(sizes, seed + at), asked.meaning, seed + at + 1),
  );
}

/** Gradients of several calls as those of one. */
function joined(all: readonly Gradients[]): Gradients<number[]> {
  return eachGradient(all[0], (_, name) => all.flatMap((one) => Array.from(one[name]!)));
}

/** What every backend is measured against, by case as it is printed. */
const expected = oncePerKey<{ readonly exact: Gradients; readonly naive: Gradients }>();

/** A greatest `|lse|` up to which half a unit in its last place is an error of weights that the budget has room for. */
const mostLevel = 8;

/** Gradients by either function: an `lse` far from 0 has lost more than `attentionBackward()` could make good. */
async function ownGradientsOf(engine: Engine, call: GradientCall): Promise<Gradients> {
  const forward = await resultsOf(engine, call.problem, call.meaning);
  const isNear = forward.lse.every((x) => !Number.isFinite(x) || Math.abs(x) <= mostLevel);
  return isNear ? await gradientsOf(engine, call, forward) : await keptGradientsOf(engine, call);
}

contract("gradients stay within the error budget for any options", async (engine) => {
  await fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const calls = callsOf(given), ours: Gradients[] = [];
      for (const call of calls) ours.push(await ownGradientsOf(engine, call));
      const measures = expected(fc.stringify(given), () => ({
        exact: joined(calls.map(exactGradients)),
        naive: joined(calls.map(naiveGradients)),
      }));
      assertGradientsWithinBudget(joined(ours), measures);
    }),
    { seed: varyingSeed(), numRuns },
  );
}, { daily: 1 / 3, needs: "backward" });

/** Some keys of some heads, their values, and some rows become NaN; says what that can reach. */
function poison({ problem, meaning, cotangents }: GradientCall, seed: number) {
  const { B, Hq, Hkv, Nq, Nk, D, Dv } = problem.sizes, random = seeded(seed);
  const [q, k, v, dOut] = [problem.q, problem.k, problem.v, cotangents.dOut].map((x) => x.slice());
  const badKeys = new Set<number>(), badRows = new Set<number>();
  for (const bad of [NaN, Infinity]) {
    const key = whole(random, 0, B * Hkv * Nk - 1), row = whole(random, 0, B * Hq * Nq - 1);
    if (random() < 0.5) k.fill(bad, key * D, (key + 1) * D);
    v.fill(bad, key * Dv, (key + 1) * Dv);
    badKeys.add(key);
    if (random() < 0.5) continue;
    if (random() < 0.5) q.fill(bad, row * D, (row + 1) * D);
    else dOut.fill(bad, row * Dv, (row + 1) * Dv);
    badRows.add(row);
  }
  const poisoned: Problem = { ...problem, q, k, v };
  return {
    call: { problem: poisoned, meaning, cotangents: { ...cotangents, dOut } },
    ...reached(problem, meaning, badKeys, badRows),
  };
}

/** Rows that are poisoned or see a poisoned key, and keys that such rows see. */
function reached(
  problem: Problem,
  meaning: Meaning,
  badKeys: ReadonlySet<number>,
  badRows: ReadonlySet<number>,
) {
  const { Hq, Hkv, Nk } = problem.sizes, rows = new Set<number>(), keys = new Set<number>();
  for (const { row, b, h, sees } of rowsOf(problem, meaning)) {
    const firstKey = (b * Hkv + Math.floor(h * Hkv / Hq)) * Nk;
    const seen = Array.from({ length: Nk }, (_, j) => j).filter(sees).map((j) => firstKey + j);
    if (!badRows.has(row) && !seen.some((key) => badKeys.has(key))) continue;
    rows.add(row);
    seen.forEach((key) => keys.add(key));
  }
  return { rows, keys };
}

contract("attentionBackward() lets nothing out of what any option masks", async (engine) => {
  await fc.assert(
    fc.asyncProperty(cases, async (given) => {
      const [call] = callsOf(given), { D, Dv } = given.sizes;
      const { rows, keys, call: poisoned } = poison(call, given.seed);
      const wanted = await gradientsOf(engine, call), got = await gradientsOf(engine, poisoned);
      const clean = (x: Float32Array, width: number, bad: ReadonlySet<number>) =>
        x.map((x, at) => bad.has(Math.floor(at / width)) ? 0 : x);
      const parts = { dq: [D, rows], dk: [D, keys], dv: [Dv, keys] } as const;
      for (const name of ["dq", "dk", "dv"] as const) {
        assertSameBits(clean(got[name], ...parts[name]), clean(wanted[name], ...parts[name]), name);
      }
      if (rows.size > 0) return;
      for (const name of gradientNames) assertSameBits(got[name] ?? [], wanted[name] ?? [], name);
    }),
    runs(90),
  );
}, { daily: 1 / 3, needs: "backward" });
