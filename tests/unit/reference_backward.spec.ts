import type { AttentionOptions, Tensor } from "@flashtile/attention";
import {
  referenceAttention,
  referenceAttentionBackward,
  type ReferenceTensor,
} from "@flashtile/attention/reference";
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { calls, presentInputs, problemOf, runs } from "../support/arbitrary.ts";
import { present, retrieve } from "../support/arrangement.ts";
import { assertSameBits } from "../support/bits.ts";
import { halfUlp } from "../support/budget.ts";
import {
  exactGradients,
  gradientCall,
  gradientNames,
  type Gradients,
  randomCotangents,
} from "../support/gradients.ts";
import { gather, inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { seeded } from "../support/random.ts";
import { isWhole, longTest } from "../support/share.ts";
import { anyMeaning } from "../support/terms.ts";
import { vectorCases } from "../support/vectors.ts";

function largestIn(numbers: Iterable<number>): number {
  return Array.from(numbers).reduce((a, b) => Math.max(a, Math.abs(b)), 0);
}

/**
 * Asserts what two float64 computations agree on once one was rounded to f32: half a unit in the last
 * place, and 2^-40 of the largest of all gradients for the float64 errors of both. They are differences,
 * so that one alone may be nothing but errors.
 */
function assertRounded(actual: Gradients, expected: Gradients): void {
  const largest = largestIn(gradientNames.flatMap((name) => Array.from(expected[name] ?? [])));
  for (const name of gradientNames) {
    const numbers = Array.from(expected[name] ?? []);
    assertEquals(actual[name]?.length ?? 0, numbers.length, name);
    numbers.forEach((x, at) => {
      const error = Math.abs(actual[name]![at] - x);
      assert(
        error <= halfUlp(x) + largest * 2 ** -40,
        `${name}: element ${at} is ${actual[name]![at]}, expected ${x}`,
      );
    });
  }
}

for (const { name, read } of vectorCases) {
  test(`referenceAttentionBackward() agrees with PyTorch on ${name}`, () => {
    const { problem, options, dOut, gradients } = read();
    assertRounded(
      exactGradients({ problem, meaning: options, cotangents: { dOut } }),
      gradients,
    );
  });
}

longTest(
  "the vectors hold gradients by all that has one",
  () => {
    const seen = new Set(vectorCases.flatMap(({ read }) => Object.keys(read().gradients)));
    assertEquals([...seen].sort(), [...gradientNames].sort());
  },
);

/** What a loss depends on. */
type Variable = "q" | "k" | "v" | "bias" | "sinks";

/** Dense float64 tensors, by what they are. */
type Variables = { readonly [Name in Variable]?: ReferenceTensor };

const small = fc.record({
  B: fc.constantFrom(1, 1, 2),
  Hkv: fc.integer({ min: 1, max: 2 }),
  group: fc.integer({ min: 1, max: 3 }),
  Nq: fc.integer({ min: 1, max: 7 }),
  Nk: fc.integer({ min: 1, max: 9 }),
  D: fc.integer({ min: 1, max: 4 }),
  Dv: fc.integer({ min: 1, max: 4 }),
}).map(({ group, ...rest }) => ({ ...rest, Hq: rest.Hkv * group }));

const smallCalls = small.chain((sizes) =>
  fc.record({ seed: fc.nat(), asked: anyMeaning(sizes) }).map(({ seed, asked }) => ({
    ...gradientCall(problemOf(sizes, seed), asked.meaning, seed),
    seed,
  }))
);

/** The loss that has these cotangents. A row that sees nothing has no `lse` that it could depend on. */
function lossOf(variables: Variables, meaning: Meaning, dOut: Float32Array, dLse: Float32Array) {
  const { q, k, v, bias, sinks } = variables;
  const options = { ...meaning, bias, sinks } as AttentionOptions;
  const { out, lse } = referenceAttention(q!, k!, v!, options);
  const loss = dOut.reduce((sum, x, at) => sum + x * out.data[at], 0);
  return dLse.reduce(
    (sum, x, at) => lse.data[at] === -Infinity ? sum : sum + x * lse.data[at],
    loss,
  );
}

/** The derivative of a function at 0 by differences: its error is of the fourth order of `step`. */
function derivative(f: (x: number) => number, step = 2 ** -10): number {
  const near = f(step) - f(-step), far = f(2 * step) - f(-2 * step);
  return (8 * near - far) / (12 * step);
}

test("referenceAttentionBackward() agrees with differences of the oracle for any options", () => {
  const compared = new Set<string>();
  fc.assert(
    fc.property(smallCalls, ({ problem, meaning, cotangents, seed }) => {
      const gradients: Gradients = exactGradients({ problem, meaning, cotangents });
      const { bias, sinks } = meaning, random = seeded(seed);
      const variables: Variables = {
        ...inputsOf(problem),
        bias: bias && { data: gather(bias as Tensor), shape: bias.shape },
        sinks,
      };
      for (const [variable, name] of Object.entries(names)) {
        const at = variables[variable as Variable], gradient = gradients[name];
        if (at === undefined) continue;
        const direction = Float64Array.from(at.data, () => 2 * random() - 1);
        const loss = (step: number) => {
          // What is -Infinity stays that.
          const data = direction.map((x, index) => at.data[index] + step * x);
          const moved = { ...variables, [variable]: { data, shape: at.shape } };
          return lossOf(moved, meaning, cotangents.dOut, cotangents.dLse!);
        };
        const terms = direction.map((x, index) => x * gradient![index]);
        const along = terms.reduce((sum, x) => sum + x, 0), size = Math.hypot(...terms);
        const error = Math.abs(derivative(loss) - along);
        assert(error <= 1e-7 * size + 1e-10, `${name}: error ${error} of ${size}`);
        if (size > 0) compared.add(name);
      }
    }),
    runs(600),
  );
  if (isWhole) assertEquals([...compared].sort(), [...gradientNames].sort());
});

/** The gradient by each. */
const names: { readonly [Name in Variable]: keyof Gradients } = {
  ...{ q: "dq", k: "dk", v: "dv", bias: "dBias", sinks: "dSinks" },
};

test("referenceAttentionBackward() reads any rank, layout and strides", () => {
  fc.assert(
    fc.property(calls, (call) => {
      const { problem, meaning, rank, layout, arrangements } = call;
      const cotangents = randomCotangents(problem, 1);
      const expected = exactGradients({ problem, meaning, cotangents });
      const { q, k, v } = presentInputs(call), { B, Hq, Hkv, Nq, Nk, D, Dv } = problem.sizes;
      const arrangement = arrangements.out;
      const dOut = present(cotangents.dOut, [B, Hq, Nq, Dv], { rank, layout, arrangement });
      const dLse = { data: cotangents.dLse!, shape: [B, Hq, Nq].slice(4 - rank) };
      const written = referenceAttentionBackward(dOut, q, k, v, { ...meaning, layout, dLse });
      const shapes = { dq: [B, Hq, Nq, D], dk: [B, Hkv, Nk, D], dv: [B, Hkv, Nk, Dv] } as const;
      for (const name of ["dq", "dk", "dv"] as const) {
        const { data, shape } = written[name];
        const given = { data: Float32Array.from(data), shape };
        const plain = Float32Array.from(expected[name]);
        assertSameBits(retrieve(given, shapes[name], layout), plain, name);
      }
    }),
    runs(40),
  );
});

test("referenceAttentionBackward() gives zero where a row sees no key, and dLse to its sink", () => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 4, Nk: 2, D: 3 }), 1);
  const call = gradientCall(problem, {
    causal: true,
    sinks: { data: Float32Array.of(0.5, -Infinity), shape: [2] },
  });
  const dLse = call.cotangents.dLse!;
  const none = exactGradients({ ...call, meaning: { ...call.meaning, kvLengths: [0] } });
  for (const name of ["dq", "dk", "dv"] as const) {
    assertEquals(none[name].every((x) => x === 0), true);
  }
  assertSameBits(none.dSinks!, [dLse[0] + dLse[1] + dLse[2] + dLse[3], 0]);
  const { dq } = exactGradients(call);
  const seeing = Array.from({ length: 8 }, (_, row) => dq[row * 3] !== 0);
  assertEquals(seeing, [false, false, true, true, false, false, true, true]);
});

test("referenceAttentionBackward() lets nothing out of masked keys", () => {
  const problem = randomProblem(sizesOf({ Hq: 2, Hkv: 1, Nq: 5, Nk: 8, D: 3, Dv: 2 }), 2);
  const call = gradientCall(problem, { kvLengths: [6], causal: true });
  const expected = exactGradients(call);
  problem.k.fill(NaN, 6 * 3);
  problem.v.fill(Infinity, 6 * 2);
  const gradients = exactGradients(call);
  for (const name of ["dq", "dk", "dv"] as const) assertSameBits(gradients[name], expected[name]);
  assert(gradients.dk.subarray(6 * 3).every((x) => x === 0));
  assert(gradients.dv.subarray(6 * 2).every((x) => x === 0));
});

test("referenceAttentionBackward() gives 0 for a bias of -Infinity", () => {
  const problem = randomProblem(sizesOf({ Nq: 3, Nk: 3, D: 2 }), 3);
  const bias = { data: Float32Array.of(0, -Infinity, 1), shape: [3] };
  const { dBias } = exactGradients(gradientCall(problem, { bias }));
  assertEquals(Array.from(dBias!, (x) => x === 0), [false, true, false]);
});

test("referenceAttentionBackward() keeps float64 as it is", () => {
  const one = { data: [1], shape: [1, 1] }, dOut = { data: [1 + 2 ** -40], shape: [1, 1] };
  const { dv } = referenceAttentionBackward(dOut, one, one, one, { scale: 1 });
  assertEquals(dv.data[0], 1 + 2 ** -40);
});
