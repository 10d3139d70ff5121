import { type AttentionOptions, tensor } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { always, calls, outOf, presentInputs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { halfUlp } from "../support/budget.ts";
import { inputsOf, randomProblem, sizesOf, slice } from "../support/problem.ts";
import { seeded, whole } from "../support/random.ts";
import { vectorCases } from "../support/vectors.ts";
import { longTest } from "../support/share.ts";

/**
 * Asserts what two float64 computations agree on once one was rounded to f32: half a unit in the
 * last place, and 2^-40 of the largest result for the float64 errors of both.
 */
function assertRounded(
  actual: Float64Array,
  expected: Float32Array,
  what: string,
): void {
  assertEquals(actual.length, expected.length);
  const largest = expected.reduce((a, b) => Number.isFinite(b) ? Math.max(a, Math.abs(b)) : a, 0);
  expected.forEach((x, at) => {
    if (Object.is(x, actual[at])) return;
    const error = Math.abs(actual[at] - x);
    assert(
      error <= halfUlp(x) + largest * 2 ** -40,
      `${what}: element ${at} is ${actual[at]}, expected ${x}`,
    );
  });
}

for (const { name, read } of vectorCases) {
  test(`referenceAttention() agrees with PyTorch on ${name}`, () => {
    const { problem, options, out, lse } = read();
    const { q, k, v } = inputsOf(problem);
    const exact = referenceAttention(q, k, v, options);
    assertRounded(exact.out.data, out, "out");
    assertRounded(exact.lse.data, lse, "lse");
  });
}

test("the vectors hold cases for every option but those about blocks and packing", () => {
  const seen = new Set(vectorCases.flatMap(({ asks }) => asks));
  const expected = [
    "causal",
    "scale",
    "window",
    "softcap",
    "alibi",
    "bias",
    "mask",
    "sinks",
    "kvLengths",
  ];
  assertEquals([...seen].sort(), expected.sort());
  assertEquals(vectorCases.length, 39);
});

longTest(
  "referenceAttention() reads any rank, layout and strides",
  () => {
    fc.assert(
      fc.property(calls, (call) => {
        const { q, k, v } = presentInputs(call);
        const written = referenceAttention(q, k, v, { ...call.meaning, layout: call.layout });
        const plain = inputsOf(call.problem);
        const expected = referenceAttention(plain.q, plain.k, plain.v, call.meaning);
        const out = { data: Float32Array.from(written.out.data), shape: written.out.shape };
        assertSameBits(outOf(call, out), Float32Array.from(expected.out.data));
        assertSameBits(written.lse.data, expected.lse.data);
      }),
      always(40),
    );
  },
);

test("referenceAttention() keeps what is drawn for causal and offset", () => {
  const drawn = (Nq: number, Nk: number, options: AttentionOptions) => {
    const zeros = (n: number) => ({ data: new Float64Array(n), shape: [n, 1] });
    const identity = Array.from({ length: Nk * Nk }, (_, at) => at % (Nk + 1) === 0 ? 1 : 0);
    const v = { data: identity, shape: [Nk, Nk] };
    const { out } = referenceAttention(zeros(Nq), zeros(Nk), v, options);
    const bits = Array.from(out.data, (x) => x > 0 ? "1" : "0").join("");
    return Array.from({ length: Nq }, (_, i) => bits.slice(i * Nk, (i + 1) * Nk)).join(" ");
  };
  assertEquals(drawn(2, 5, { causal: true }), "11110 11111");
  assertEquals(drawn(5, 2, { causal: true }), "00 00 00 10 11");
  assertEquals(drawn(2, 5, { causal: "top-left" }), "10000 11000");
  assertEquals(drawn(2, 5, { causal: true, offset: 2 }), "11100 11110");
  assertEquals(drawn(3, 5, { window: [1, 1], offset: 1 }), "11100 01110 00111");
  assertEquals(drawn(3, 3, { window: [null, 0], offset: 0 }), "100 110 111");
});

test("referenceAttention() is in float64 whatever the precision", () => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 3, D: 4 }), 1));
  const { out } = referenceAttention(q, k, v),
    other = referenceAttention(q, k, v, { precision: "int8" });
  assertSameBits(other.out.data, out.data);
});

test("referenceAttention() attends packed sequences each by itself", () => {
  const random = seeded(1);
  const lengths = Array.from({ length: 6 }, () => [whole(random, 0, 5), whole(random, 0, 5)]);
  const boundaries = (which: number) =>
    Int32Array.from([
      0,
      ...lengths.map((_, at) => {
        return lengths.slice(0, at + 1).reduce((sum, pair) => sum + pair[which], 0);
      }),
    ]);
  const cuSeqlens = { q: boundaries(0), k: boundaries(1) };
  const sizes = { B: 1, Hq: 2, Hkv: 1, Nq: cuSeqlens.q[6], Nk: cuSeqlens.k[6], D: 3, Dv: 2 };
  const problem = randomProblem(sizes, random);
  const { q, k, v } = inputsOf(problem);
  for (const causal of [false, true, "top-left"] as const) {
    const whole = referenceAttention(q, k, v, { causal, cuSeqlens });
    lengths.forEach(([Nq, Nk], at) => {
      const [fromQ, fromK] = [cuSeqlens.q[at], cuSeqlens.k[at]];
      const alone = {
        sizes: { ...sizes, Nq, Nk },
        q: slice(problem.q, q.shape, 2, fromQ, fromQ + Nq),
        k: slice(problem.k, k.shape, 2, fromK, fromK + Nk),
        v: slice(problem.v, v.shape, 2, fromK, fromK + Nk),
      };
      const inputs = inputsOf(alone);
      const expected = referenceAttention(inputs.q, inputs.k, inputs.v, { causal });
      const out = Float32Array.from(whole.out.data);
      assertSameBits(
        slice(out, whole.out.shape, 2, fromQ, fromQ + Nq),
        Float32Array.from(expected.out.data),
      );
    });
  }
});

test("referenceAttention() keeps float64 as it is", () => {
  const q = { data: [1 + 2 ** -40], shape: [1, 1] }, kv = { data: [1], shape: [1, 1] };
  const { lse } = referenceAttention(q, kv, kv, { scale: 1 });
  assertEquals(lse.data[0], 1 + 2 ** -40);
});

test("referenceAttention() gives zero and -Infinity where a row sees no key", () => {
  const q = tensor(new Float32Array(6).fill(1), [2, 3]);
  const none = tensor(new Float32Array(0), [0, 3]);
  const { out, lse } = referenceAttention(q, none, none);
  assertEquals(Array.from(out.data), [0, 0, 0, 0, 0, 0]);
  assertEquals(Array.from(lse.data), [-Infinity, -Infinity]);
});

test("referenceAttention() gives the sink where a row sees no key but a sink", () => {
  const one = tensor(Float32Array.of(1), [1, 1]);
  const sinks = tensor(Float32Array.of(0.75), [1]);
  const { out, lse } = referenceAttention(one, one, one, { sinks, causal: true, offset: -1 });
  assertEquals([out.data[0], lse.data[0]], [0, 0.75]);
});

test("referenceAttention() lets nothing out of masked keys, and a NaN where it is seen", () => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 3, D: 2 }), 3));
  k.data[4] = v.data[4] = NaN;
  const { out, lse } = referenceAttention(q, k, v, { causal: true });
  assertEquals(Array.from(out.data, Number.isNaN), [false, false, false, false, true, true]);
  assertEquals(Array.from(lse.data, Number.isNaN), [false, false, true]);
});

test("referenceAttention() gives the mean of the values for equal scores", () => {
  const zero = tensor(new Float32Array(4), [4, 1]);
  const v = tensor(Float32Array.of(1, 2, 3, 6), [4, 1]);
  const { out, lse } = referenceAttention(zero, zero, v);
  assertAlmostEquals(out.data[0], 3, 1e-15);
  assertAlmostEquals(lse.data[0], Math.log(4), 1e-15);
});
