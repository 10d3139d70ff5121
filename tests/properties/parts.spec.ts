import fc from "fast-check";
import { referenceAttention } from "@flashtile/attention/reference";
import { contract } from "../contract/backends.ts";
import { problemOf, runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "../support/budget.ts";
import { naiveAttention } from "../support/naive.ts";
import { oncePerKey } from "../support/once.ts";
import { inputsOf, type Meaning, type Problem, slice } from "../support/problem.ts";

/** Keys that a part has. */
const part = 2048;

/** Problems whose keys are split: at most 16 rows a head, more keys than one part has. */
const problems = fc.record({
  B: fc.integer({ min: 1, max: 2 }),
  Hkv: fc.integer({ min: 1, max: 2 }),
  rows: fc.constantFrom([1, 1], [1, 4], [2, 2], [3, 5], [4, 4], [8, 2], [16, 1], [1, 16], [7, 1]),
  Nk: fc.oneof(
    fc.constantFrom(part - 1, part, part + 1, 2 * part, 2 * part + 3, 9000),
    fc.integer({ min: part, max: 9000 }),
  ),
  D: fc.integer({ min: 1, max: 12 }),
  Dv: fc.integer({ min: 1, max: 9 }),
  seed: fc.nat(),
}).map(({ rows: [group, Nq], seed, ...rest }) =>
  problemOf({ ...rest, Hq: rest.Hkv * group, Nq }, seed)
);

/** What rows see: all keys, or so few that whole parts are seen by no row, or by some. */
const cases = problems.chain((problem) => {
  const { B, Nk } = problem.sizes;
  const offset = fc.oneof(
    fc.constantFrom(30, part - 2, part - 1, part, 2 * part - 3),
    fc.integer({ min: 20, max: Nk }),
  );
  const meaning: fc.Arbitrary<Meaning> = fc.oneof(
    fc.constant({}),
    fc.constant({ causal: true }),
    fc.record({
      causal: fc.constant(true),
      offset: fc.array(offset, { minLength: B, maxLength: B }),
    }),
  );
  return fc.record({ problem: fc.constant(problem), meaning });
});

/**
 * The same problems with so many batches that there are 64 rows: over a few numbers the plain
 * formula is often exact by luck.
 */
const manyRows = cases.map(({ problem: { sizes }, meaning: { causal, offset } }) => {
  const B = Math.ceil(64 / (sizes.Hq * sizes.Nq));
  const first = typeof offset === "object" ? offset[0] : offset;
  const problem = problemOf({ ...sizes, B }, sizes.Nk);
  return { problem, meaning: { causal, offset: first } };
});

/** What every backend is measured against. */
const expected = oncePerKey<{
  readonly exact: ReturnType<typeof referenceAttention>;
  readonly naive: ReturnType<typeof naiveAttention>;
}>();

contract("attention() stays within the error budget for keys in parts", async (engine) => {
  await fc.assert(
    fc.asyncProperty(manyRows, async ({ problem, meaning }) => {
      const { q, k, v } = inputsOf(problem);
      const ours = await engine.attention(q, k, v, { ...meaning, lse: true });
      const { exact, naive } = expected(fc.stringify([problem, meaning]), () => ({
        exact: referenceAttention(q, k, v, meaning),
        naive: naiveAttention(problem, meaning),
      }));
      for (const name of ["out", "lse"] as const) {
        const errors = measure(ours[name].data, naive[name], exact[name].data, rootMeanSquare);
        assertWithinBudget(name, errors);
      }
    }),
    runs(25),
  );
}, { daily: 1 / 3 });

/** A problem with every key and value from `first` on overwritten. */
function poisoned(problem: Problem, first: number, poison: number): Problem {
  const { Nk, D, Dv } = problem.sizes;
  const overwrite = (data: Float32Array, width: number) =>
    data.map((x, at) => Math.floor(at / width) % Nk >= first ? poison : x);
  return { ...problem, k: overwrite(problem.k, D), v: overwrite(problem.v, Dv) };
}

contract("attention() lets no poison out of masked keys in any part", async (engine) => {
  await fc.assert(
    fc.asyncProperty(
      problems,
      fc.constantFrom(-3, 0, 5, part - 1, part, part + 7, 2 * part),
      fc.constantFrom(NaN, Infinity, -Infinity),
      async (problem, offset, poison) => {
        const options = { causal: true, offset, lse: true } as const;
        const clean = inputsOf(problem);
        const wanted = await engine.attention(clean.q, clean.k, clean.v, options);
        const first = Math.max(0, problem.sizes.Nq + offset);
        const { q, k, v } = inputsOf(poisoned(problem, first, poison));
        const { out, lse } = await engine.attention(q, k, v, options);
        assertSameBits(out.data, wanted.out.data, "out");
        assertSameBits(lse.data, wanted.lse.data, "lse");
      },
    ),
    runs(40),
  );
});

contract("attention() keeps a NaN in one part to the rows that see it", async (engine) => {
  await fc.assert(
    fc.asyncProperty(problems, fc.double({ min: 0, max: 1, noNaN: true }), async (problem, at) => {
      const { B, Hkv, Hq, Nq, Nk, D, Dv } = problem.sizes;
      const key = Math.min(Nk - 1, Math.floor(at * Nk));
      // Row i sees the keys up to key + i - 1: all rows but the first see it.
      const options = { causal: true, offset: key - 1, lse: true } as const;
      const { q, k, v } = inputsOf(problem);
      const clean = await engine.attention(q, k, v, options);
      const last = B * Hkv - 1, poisonedKey = problem.k.slice();
      poisonedKey[(last * Nk + key) * D] = NaN;
      const { out, lse } = await engine.attention(q, { ...k, data: poisonedKey }, v, options);
      const sees = (row: number) => row >= (B * Hq - Hq / Hkv) * Nq && row % Nq > 0;
      const withNaN = clean.out.data.map((x, at) => sees(Math.floor(at / Dv)) ? NaN : x);
      assertSameBits(out.data, withNaN, "out");
      assertSameBits(lse.data, clean.lse.data.map((x, row) => sees(row) ? NaN : x), "lse");
    }),
    runs(30),
  );
});

contract(
  "attention() gives zero and -Infinity for rows that see no key of any part",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(problems, async (problem) => {
        const { q, k, v } = inputsOf(problem), { Nq, Dv } = problem.sizes;
        const offset = -Math.ceil(Nq / 2);
        const { out, lse } = await engine.attention(q, k, v, { causal: true, offset, lse: true });
        const unseen = (row: number) => row % Nq < -offset;
        lse.data.forEach((x, row) => {
          if ((x === -Infinity) !== unseen(row)) throw new Error(`lse of row ${row} is ${x}`);
        });
        const nothing = out.data.map((x, at) => unseen(Math.floor(at / Dv)) ? 0 : x);
        assertSameBits(out.data, nothing);
      }),
      runs(15),
    );
  },
);

contract("attention() gives the same bits for keys in parts, one head alone", async (engine) => {
  await fc.assert(
    fc.asyncProperty(problems, async (problem) => {
      const { B, Hkv, Hq } = problem.sizes;
      const { q, k, v } = inputsOf(problem);
      const whole = await engine.attention(q, k, v, { lse: true });
      const cut = (tensor: typeof q, axis: number, from: number, to: number) => {
        const shape = [...tensor.shape];
        const data = slice(tensor.data, shape, axis, from, to);
        shape[axis] = to - from;
        return { data, shape };
      };
      const last = (tensor: typeof q) => {
        const batch = cut(tensor, 0, B - 1, B);
        return cut(batch, 1, batch.shape[1] - 1, batch.shape[1]);
      };
      const alone = await engine.attention(last(q), last(k), last(v), { lse: true });
      assertSameBits(alone.out.data, last({ ...whole.out }).data, `head ${Hq - 1} of ${Hkv}`);
    }),
    runs(15),
  );
});
