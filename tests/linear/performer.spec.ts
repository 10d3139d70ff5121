import {
  createEngine,
  type DType,
  type Engine,
  type HostData,
  type Tensor,
} from "@flashtile/attention";
import {
  createPerformerState,
  performerAttention,
  performerAttentionWithGradient,
  type PerformerOptions,
  performerProjection,
} from "@flashtile/attention/linear";
import {
  referenceAttention,
  referencePerformerAttention,
  referencePerformerAttentionBackward,
} from "@flashtile/attention/reference";
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { encrypt } from "../../src/operations/performer/projection.ts";
import { contract } from "../contract/backends.ts";
import { runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, halfUlp, measure, rootMeanSquare } from "../support/budget.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { familyCases } from "../support/family.ts";
import { denseOf, naivePerformer, randomProblem, rows } from "../support/performer.ts";
import { withGuards } from "../support/guards.ts";
import { once } from "../support/once.ts";
import { seeded, whole } from "../support/random.ts";
import { residentOf } from "../support/resident.ts";
import { isWhole, untilWhole } from "../support/share.ts";
import { numbersOf } from "../support/softmax.ts";
import { halfUlpOf } from "../support/storage.ts";

/** Bits of the projection `{ dim: 3, features: 4 }`, as every runtime must give them. */
const bitsOfSeed0: readonly number[] = [
  ...[1068230820, 3203573826, 1074810670, 3213283642, 3218461390, 1049456138],
  ...[1068025023, 3212766380, 3212746954, 3171138260, 1042360568, 3178318640],
];

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

const cases = familyCases.filter(({ kind }) => kind === "performer");

/**
 * Roundings of the largest of some numbers: where they are kept, and of the four products and quotients that each is
 * made of even where it is a single value.
 */
function roundingOf(numbers: ArrayLike<number>, dtype: DType = "f32"): number {
  const largest = largestOf(numbers);
  return halfUlpOf(dtype, largest) + 4 * halfUlp(largest);
}

function largestOf(numbers: ArrayLike<number>): number {
  let largest = 0;
  for (let at = 0; at < numbers.length; at++) largest = Math.max(largest, Math.abs(numbers[at]));
  return largest;
}

function largestError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return measure(a, a, b).ours;
}

/** What the oracle takes: the same tensors in its own types. */
// deno-lint-ignore no-explicit-any
type Given = any;

contract("performerAttention() gives what performer-pytorch does", async (engine) => {
  assert(cases.length >= 3);
  for (const { name, options, inputs: { q, k, v, projection }, results } of cases) {
    const { out } = await performerAttention(q, k, v, { ...options, projection, engine });
    assertEquals(out.shape, results.out.shape, name);
    const error = largestError(out.data, results.out.data);
    assert(error <= 3e-6, `${name}: ${error}`);
  }
});

contract(
  "performerAttention() is as exact as the plain formula, whatever the call",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const problem = randomProblem(seed, 40), { q, k, v, options } = problem;
        const { out } = await performerAttention(q, k, v, { ...options, engine });
        const exact = referencePerformerAttention(q, k, v, options as Given).out;
        assertEquals([out.shape, out.dtype], [exact.shape, q.dtype]);
        const { layout } = options, { out: naive, relative } = naivePerformer(problem);
        const errors = measure(denseOf(out, layout), naive, dense(exact, layout), rootMeanSquare);
        const rounding = roundingOf(exact.data, q.dtype) +
          halfUlp(relative) * largestOf(numbersOf(v));
        assertWithinBudget("out", errors, rounding);
      }),
      runs(600),
    );
  },
  { daily: 1 / 3 },
);

/** Results of the oracle in the order of `[B, H, N, D]`. */
function dense(
  { data, shape }: { readonly data: Float64Array; readonly shape: readonly number[] },
  layout: "bhnd" | "bnhd",
): Float64Array {
  // By their places, since rounding them would be an error.
  const places = Float32Array.from(data, (_, index) => index);
  const order = denseOf({ data: places, shape, dtype: "f32" }, layout);
  return Float64Array.from(order, (place) => data[place]);
}

contract("gradients of performer attention are performer-pytorch's", async (engine) => {
  for (const { name, options, inputs: { q, k, v, projection }, dOut, gradients } of cases) {
    const given = { ...options, projection, engine };
    const { backward } = await performerAttentionWithGradient(q, k, v, given);
    const got: Given = await backward(dOut);
    const [B, Hq, Nq, D] = q.shape, [, Hkv, Nk] = k.shape, R = projection.shape[0];
    const sizes = { B, Hq, Hkv, group: Hq / Hkv, Nq, Nk, D, Dv: v.shape[3], R };
    const all: Given = { ...options, projection, layout: "bhnd" };
    const plain: Given = naivePerformer({ sizes, q, k, v, dOut, options: all } as Given);
    for (const [what, want] of Object.entries(gradients)) {
      const by = `d${what}`, rounding = halfUlp(plain.relative) * plain.terms[by];
      const errors = measure(got[by].data, plain[by], want.data);
      assertWithinBudget(`${name} ${by}`, errors, roundingOf(want.data, "f32") + rounding);
    }
  }
}, { daily: 1 / 3, needs: "rowGradients" });

contract(
  "gradients of performer attention are as exact as the plain formula",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const problem = randomProblem(seed, 30), { q, k, v, dOut, options } = problem;
        const { backward } = await performerAttentionWithGradient(q, k, v, { ...options, engine });
        const got: Given = await backward(dOut), plain: Given = naivePerformer(problem);
        const want: Given = referencePerformerAttentionBackward(
          ...[q, k, v, dOut] as Given as [Given, Given, Given, Given],
          options as Given,
        );
        for (const [name, by] of [["dq", q], ["dk", k], ["dv", v]] as const) {
          assertEquals([got[name].shape, got[name].dtype], [by.shape, by.dtype]);
          const ours = denseOf(got[name], options.layout),
            exact = dense(want[name], options.layout);
          const errors = measure(ours, plain[name], exact, rootMeanSquare);
          // Gradients are differences: roundings of their terms are theirs, too.
          const rounding = roundingOf(exact, by.dtype) +
            (2 ** -23 + halfUlp(plain.relative)) * plain.terms[name];
          assertWithinBudget(name, errors, rounding);
        }
      }),
      runs(500),
    );
  },
  { daily: 1 / 3, needs: "rowGradients" },
);

/** A call of more rows than a part has, and what it must give: seconds of the oracle. */
const severalParts = once(() => {
  const [q, k, v, dOut] = [1, 2, 3, 4].map((seed) => rows([1100, 2], seed)) as Given[];
  return [true, false].map((causal) => {
    const options = { projection: rows([3, 2], 5) as Given, causal };
    const exact: Given = {
      ...referencePerformerAttention(q, k, v, options),
      ...referencePerformerAttentionBackward(q, k, v, dOut, options),
    };
    return { q, k, v, dOut, options, exact };
  });
});

contract(
  "performer attention and its gradients are exact over several parts",
  async (engine) => {
    for (const { q, k, v, dOut, options, exact } of severalParts()) {
      const { out, backward } = await performerAttentionWithGradient(q, k, v, {
        ...options,
        engine,
      });
      const got: Given = { out, ...await backward(dOut) };
      for (const name of ["out", "dq", "dk", "dv"]) {
        const error = largestError(got[name].data, exact[name].data);
        assert(error <= 3e-6 * Math.max(1, largestOf(exact[name].data)), `${name}: ${error}`);
      }
    }
  },
  { needs: "rowGradients", ...(!isWhole && { skip: untilWhole }) },
);

contract("rows that see no key are 0", async (engine) => {
  const q = rows([2, 3, 4], 1), none = rows([2, 0, 4], 2);
  const { out } = await performerAttention(q, none, none, { features: 8, engine });
  assertEquals(Array.from(out.data), new Array(24).fill(0));
  const empty = rows([2, 0, 4], 3);
  assertEquals((await performerAttention(empty, q, q, { engine })).out.shape, [2, 0, 4]);
  assertEquals((await performerAttention(empty, none, none, { causal: true, engine })).out.shape, [
    2,
    0,
    4,
  ]);
});

/** One column: features along one direction each, so that exponents are what keys say. */
function column(numbers: readonly number[]): Tensor {
  return { data: Float32Array.from(numbers), shape: [numbers.length, 1] };
}

/** Keys whose exponents lie far apart, up or down, in one chunk of rows and over chunks. */
const farApart: readonly (readonly [what: string, keys: readonly number[]])[] = [
  ["far below, then near", [-30, 0, 1]],
  ["near, then far below", [1, 0, -30]],
  ["up in one chunk", Array.from({ length: 60 }, (_, at) => at - 40)],
  ["down in one chunk", Array.from({ length: 60 }, (_, at) => 20 - at)],
  ["one far away among all", Array.from({ length: 200 }, (_, at) => at === 100 ? 40 : at % 3)],
  ["up over chunks", Array.from({ length: 150 }, (_, at) => at / 4 - 30)],
  ["to and fro", Array.from({ length: 130 }, (_, at) => at % 2 === 0 ? 25 : -25)],
];

/** Calls with such keys, and what they must give. */
const farCalls = once(() => {
  const projection = column([1, -1, 0.5, 0, 3, -2]);
  return farApart.flatMap(([what, keys]) => {
    const k = column(keys), v = column(keys.map((_, at) => Math.sin(at)));
    const queries = [keys.map(() => 1), keys.map((_, at) => at % 7 * 6 - 18)];
    return queries.flatMap((numbers) =>
      [true, false].map((causal) => {
        const q = column(numbers), options = { projection, causal, scale: 1 };
        const exact = referencePerformerAttention(q, k, v, options).out.data;
        return { what: `${what}, causal ${causal}`, q, k, v, options, exact };
      })
    );
  });
});

contract("no row loses its keys to those whose exponents are hundreds above", async (engine) => {
  for (const { what, q, k, v, options, exact } of farCalls()) {
    const { out } = await performerAttention(q, k, v, { ...options, engine });
    // Exponents of some hundreds have errors of 2e-5.
    const error = largestError(out.data, exact);
    assert(error <= 3e-4, `${what}: ${error}`);
  }
}, { daily: 1 / 3 });

contract("what is not finite reaches no earlier row", async (engine) => {
  const shape = [1, 150, 6], plain = [1, 2, 3].map((seed) => rows(shape, seed));
  const options = { features: 16, causal: true, engine };
  const { out } = await performerAttention(plain[0], plain[1], plain[2], options);
  for (const [index, value] of [[1, NaN], [1, Infinity], [2, NaN], [2, Infinity]] as const) {
    const given = plain.map((tensor) => ({ ...tensor, data: Float32Array.from(tensor.data) }));
    given[index].data.fill(value, 77 * 6, 78 * 6);
    const { out: spoiled } = await performerAttention(given[0], given[1], given[2], options);
    const before = out.data.subarray(0, 77 * 6), got = spoiled.data.subarray(0, 77 * 6);
    // Chunks end elsewhere, so that bits may differ.
    assert(largestError(got, before) <= 2e-6, `${index} ${value}`);
    assert(!Number.isFinite(spoiled.data[77 * 6]), `${index} ${value}`);
  }
});

contract("errors of a performer do not grow with the number of keys", async (engine) => {
  for (const causal of [false, true]) {
    for (const N of [4096, 70_000]) {
      const k = { data: new Float32Array(N * 4).fill(0.3), shape: [N, 4] };
      const v = { data: new Float32Array(N).fill(0.1), shape: [N, 1] };
      const { out } = await performerAttention(k, k, v, { features: 8, causal, engine });
      let error = 0;
      for (const x of out.data) error = Math.max(error, Math.abs(x / Math.fround(0.1) - 1));
      // A row's sum, and its denominator, have runs of 64 terms: each is off by 32 roundings at most, and by those of
      // products where these are not fused with sums.
      assert(error <= 68 * 2 ** -24, `${N}, causal ${causal}: ${error}`);
    }
  }
});

contract("four times the features halve the error of small inputs", async (engine) => {
  const means: number[] = [];
  for (const features of [64, 256, 1024]) {
    let sum = 0;
    for (let seed = 0; seed < 20; seed++) {
      const [q, k, v] = [1, 2, 3].map((one) => rows([64, 16], 10 * seed + one, 0.5));
      const { out } = await performerAttention(q, k, v, { features, seed, engine });
      const exact = referenceAttention(q, k, v).out.data;
      sum += numbersOf(out).reduce((total, x, at) => total + Math.abs(x - exact[at]), 0) /
        exact.length;
    }
    means.push(sum / 20);
  }
  for (const ratio of [means[0] / means[1], means[1] / means[2]]) {
    assert(ratio >= 1.7 && ratio <= 2.3, `${means}`);
  }
}, { daily: 1 / 3 });

/** Everything that a call gives. */
async function everything(
  engine: Engine,
  [q, k, v]: readonly Tensor<HostData>[],
  options: PerformerOptions,
): Promise<HostData[]> {
  const { out, backward } = await performerAttentionWithGradient(q, k, v, { ...options, engine });
  const { dq, dk, dv } = await backward(out);
  return [out, dq, dk, dv].map(({ data }) => data);
}

contract(
  "the number of threads changes no bit of a performer",
  async (engine, { threads }) => {
    if (threads === 1) return;
    const alone = await createEngine({ backend: "wasm", threads: 1 });
    try {
      // So much work that all threads take part.
      for (const [Hq, Hkv, N] of [[1, 1, 2500], [2, 1, 1400], [5, 5, 450]]) {
        const all = [rows([Hq, N, 8], 1), rows([Hkv, N, 8], 2), rows([Hkv, N, 8], 3)];
        for (const options of [{ causal: true }, {}, { causal: true, kernel: "relu" as const }]) {
          const given = { ...options, features: 64 };
          const ours = await everything(engine, all, given);
          const theirs = await everything(alone, all, given);
          for (const [index, one] of ours.entries()) {
            assertSameBits(one, theirs[index], `${["out", "dq", "dk", "dv"][index]} ${N}`);
          }
        }
      }
    } finally {
      await alone.close();
    }
  },
  { needs: "linearMemory", daily: 1 },
);

contract("an engine's tensors and arrays give the same bits of a performer", async (engine) => {
  for (const dtype of ["f32", "bf16"] as const) {
    const shape = [3, 300, 8], all = [1, 2, 3].map((seed) => rows(shape, seed, 1, dtype));
    const own = all.map((tensor) => residentOf(engine, tensor as never));
    for (const options of [{ causal: true }, {}]) {
      const given = { ...options, features: 24 };
      const ours = await everything(engine, own, given),
        theirs = await everything(engine, all, given);
      for (const [index, one] of ours.entries()) assertSameBits(one, theirs[index], dtype);
    }
    for (const tensor of own) tensor.free();
  }
}, { needs: "hostTensors" });

contract("a performer writes into `out`, also where its inputs are", async (engine) => {
  const shape = [2, 90, 6], all = [1, 2, 3].map((seed) => rows(shape, seed));
  const options = { features: 16, causal: true, engine };
  const { out: plain } = await performerAttention(all[0], all[1], all[2], options);
  for (const index of [0, 1, 2]) {
    const given = all.map((tensor) => ({ ...tensor, data: Float32Array.from(tensor.data) }));
    const out = given[index];
    assertEquals(
      (await performerAttention(given[0], given[1], given[2], { ...options, out })).out,
      out,
    );
    assertSameBits(out.data, plain.data);
  }
  const wide = {
    data: new Uint16Array(2 * 90 * 7),
    shape,
    strides: [630, 7, 1],
    dtype: "bf16" as const,
  };
  await performerAttention(all[0], all[1], all[2], { ...options, out: wide });
  assert(
    Math.abs(numbersOf({ data: wide.data, shape: [1260], dtype: "bf16" })[7] - plain.data[6]) <
      1e-2,
  );
}, { needs: "hostTensors" });

/** Some rows of a contiguous tensor of rank 4. */
function part(
  { data, shape, dtype }: Tensor<HostData>,
  from: number,
  to: number,
): Tensor<HostData> {
  const [B, H, N, D] = shape;
  return {
    ...{ data, dtype, shape: [B, H, to - from, D] },
    ...{ strides: [H * N * D, N * D, D, 1], offset: from * D },
  };
}

contract("a performer's state gives what the causal function does", async (engine) => {
  const random = seeded(3);
  for (const [kernel, size] of [["softmax", 1], ["relu", 1], ["softmax", 6]] as const) {
    const [B, Hq, Hkv, N, D] = [2, 4, 2, 210, 8];
    const [q, k, v] = [
      rows([B, Hq, N, D], 1, size),
      rows([B, Hkv, N, D], 2, size),
      rows([B, Hkv, N, 5], 3),
    ];
    const options = { features: 20, seed: 4, kernel };
    const { out: all } = await performerAttention(q, k, v, { ...options, causal: true, engine });
    const state = createPerformerState({ ...options, engine });
    for (let at = 0; at < N;) {
      const to = Math.min(N, at + (random() < 0.8 ? whole(random, 1, 3) : whole(random, 40, 90)));
      const [a, b, c] = [q, k, v].map((tensor) => part(tensor, at, to));
      const { out } = await state.step(a, b, c);
      assertEquals([out.shape, state.rows], [[B, Hq, to - at, 5], to]);
      const got = numbersOf(out), want: number[] = [];
      for (let head = 0; head < B * Hq; head++) {
        want.push(...all.data.subarray((head * N + at) * 5, (head * N + to) * 5) as Float32Array);
      }
      const error = largestError(got, want);
      assert(error <= 3e-6 * (size > 1 ? 50 : 1), `${kernel} ${size} from ${at}: ${error}`);
      at = to;
    }
    state.close();
  }
});

contract("a performer's state stays exact, and of one size", async (engine) => {
  const state = createPerformerState({ features: 8, engine });
  let bytes = 0;
  // A row at a time, then 64, which are a part that is added up.
  for (const [length, count] of [[1, 500], [64, 2000]]) {
    const k = { data: new Float32Array(4 * length).fill(0.3), shape: [length, 4] };
    const v = { data: new Float32Array(length).fill(0.1), shape: [length, 1] };
    for (let step = 0; step < count; step++) {
      const { out } = await state.step(k, k, v),
        error = Math.abs(out.data[0] / Math.fround(0.1) - 1);
      assert(error <= 64 * 2 ** -24, `${state.rows}: ${error}`);
      if (step === 10) bytes = engine.memoryBytes;
    }
    assertEquals(engine.memoryBytes, bytes);
  }
  state.close();
}, { daily: 1 / 3, needs: "linearMemory" });

contract("steps of a performer's state follow one another, and end with it", async (engine) => {
  const state = createPerformerState({ features: 8, engine }), all = rows([1, 2, 9, 4], 1);
  const steps = Array.from({ length: 9 }, (_, at) => part(all, at, at + 1));
  const together = await Promise.all(steps.map((row) => state.step(row, row, row)));
  const { out } = await performerAttention(all, all, all, { features: 8, causal: true, engine });
  for (const [at, { out: row }] of together.entries()) {
    assert(Math.abs(row.data[0] as number - (out.data[at * 4] as number)) <= 1e-6, `${at}`);
  }
  const wide = rows([1, 2, 1, 5], 2), [first] = steps;
  await assertRefused(
    () => state.step(wide, wide, wide),
    RangeError,
    "Cannot compute `step()`: rows must be of the sizes of the first step, " +
      "[B, Hq, Hkv, D, Dv] = [1,2,2,4,4], got [1,2,2,5,5]",
  );
  const ended = AbortSignal.abort("enough");
  assertEquals(await errorOf(() => state.step(first, first, first, { signal: ended })), "enough");
  assertEquals(state.rows, 9);
  const again = createPerformerState({ features: 8, engine });
  await again.step(all, all, all);
  const [a, b] = [await state.step(first, first, first), await again.step(first, first, first)];
  assert(Math.abs((a.out.data[0] as number) - (b.out.data[0] as number)) <= 1e-6);
  again.close();
  state.close();
  await assertRefused(
    () => state.step(first, first, first),
    Error,
    "Cannot compute `step()`: the state was closed",
  );
});

contract("a step that cannot run here leaves the state as it was", async (engine) => {
  const [first, last] = [rows([1, 2, 3, 4], 1), rows([1, 2, 1, 4], 2)], sizes = first.shape;
  const options = { features: 8, engine };
  const state = createPerformerState(options), other = createPerformerState(options);
  for (const one of [state, other]) await one.step(first, first, first);
  const buffer = { size: 4096, usage: 0x80, mapAsync: () => {}, mapState: "unmapped" };
  const wrong: Given = { data: buffer, shape: sizes, dtype: "f32" };
  await assertRefused(
    () => state.step(wrong, first, first),
    TypeError,
    "Cannot compute `step()`: `q` is a GPUBuffer, which the wasm backend cannot read; " +
      'make the engine with { backend: "webgpu", device }',
  );
  const [a, b] = [await state.step(last, last, last), await other.step(last, last, last)];
  assertSameBits(a.out.data, b.out.data);
  for (const one of [state, other]) one.close();
}, { needs: "linearMemory" });

contract("a step that a signal ends leaves the state as it was", async (engine) => {
  const long = rows([1, 2, 9000, 8], 1), [first, last] = [part(long, 0, 70), part(long, 70, 71)];
  const options = { features: 32, engine };
  const state = createPerformerState(options), other = createPerformerState(options);
  for (const one of [state, other]) await one.step(first, first, first);
  let looks = 0;
  const signal = {
    // Aborted while the step runs.
    get aborted() {
      return ++looks > 4;
    },
    reason: "enough",
  };
  assertEquals(await errorOf(() => state.step(long, long, long, { signal })), "enough");
  const [a, b] = [await state.step(last, last, last), await other.step(last, last, last)];
  assertSameBits(a.out.data, b.out.data);
  assertEquals([state.rows, other.rows], [71, 71]);
  for (const one of [state, other]) one.close();
}, { needs: "linearMemory" });

contract("no size or storage makes a performer write outside of its blocks", async (engine) => {
  await withGuards(async (watch) => {
    for (const dtype of ["f32", "bf16"] as const) {
      for (
        const [N, D, Dv, features] of [
          ...[[1, 1, 1, 1], [70, 5, 3, 9], [65, 33, 66, 16], [130, 2, 130, 250]],
          ...[[66, 200, 5, 8], [1100, 4, 1, 31]],
        ]
      ) {
        const q = rows([4, N, D], 1, 1, dtype), k = rows([2, N, D], 2, 1, dtype);
        const v = rows([2, N, Dv], 3, 1, dtype);
        const own = [q, k, v].map((tensor) => residentOf(engine, tensor as never));
        for (const options of [{ features }, { features, causal: true }]) {
          for (const kernel of ["softmax", "relu"] as const) {
            const ours = await everything(engine, own, { ...options, kernel });
            watch.check();
            const theirs = await everything(engine, [q, k, v], { ...options, kernel });
            watch.check();
            for (const [index, one] of ours.entries()) assertSameBits(one, theirs[index], `${N}`);
          }
        }
        const state = createPerformerState({ features, engine });
        for (const step of [own, [q, k, v]]) await state.step(step[0], step[1], step[2]);
        state.close();
        await undefined;
        for (const tensor of own) tensor.free();
        watch.check();
      }
    }
  });
}, { needs: "linearMemory", daily: 1 / 3 });

contract("a performer gives its memory back, also where it is ended", async (engine) => {
  const x = rows([2, 3000, 8], 1), options = { features: 16, engine };
  await everything(engine, [x, x, x], options);
  await everything(engine, [x, x, x], { ...options, causal: true });
  const bytes = engine.memoryBytes;
  for (let round = 0; round < 3; round++) {
    const controller = new AbortController();
    const ended = performerAttention(x, x, x, { ...options, signal: controller.signal });
    controller.abort("ended");
    assertEquals(await errorOf(() => ended), "ended");
    const state = createPerformerState(options);
    await state.step(
      part({ ...x, shape: [1, ...x.shape] }, 0, 5),
      part({ ...x, shape: [1, ...x.shape] }, 0, 5),
      part({ ...x, shape: [1, ...x.shape] }, 0, 5),
    );
    state.close();
    await everything(engine, [x, x, x], { ...options, causal: round === 1 });
  }
  assertEquals(engine.memoryBytes, bytes);
  await engine.close();
  await assertRefused(
    () => performerAttention(x, x, x, options),
    Error,
    "Cannot use an engine after `close()`",
  );
}, { needs: "linearMemory" });

test("philox gives its authors' numbers", () => {
  assertEquals(encrypt(0, 0, 0), [0xff1dae59, 0x6cd10df2]);
  assertEquals(encrypt(0xffffffff, 0xffffffff, 0xffffffff), [0x2c3f628b, 0xab4fd7ad]);
  assertEquals(encrypt(0x243f6a88, 0x85a308d3, 0x13198a2e), [0xdd7ce038, 0xf62a4c12]);
});

test("performerProjection() gives orthogonal rows, as long as normal ones, and the same bits everywhere", () => {
  const { data, shape } = performerProjection({ dim: 16, features: 400, seed: 9 });
  assertEquals(shape, [400, 16]);
  const dot = (a: number, b: number) => {
    let sum = 0;
    for (let d = 0; d < 16; d++) sum += data[a * 16 + d] * data[b * 16 + d];
    return sum;
  };
  let squares = 0;
  for (let row = 0; row < 400; row++) {
    squares += dot(row, row);
    for (let other = row - row % 16; other < row; other++) {
      assert(Math.abs(dot(row, other)) <= 1e-5, `${row} and ${other}`);
    }
  }
  // Of 400 numbers of mean 16 and variance 32.
  assert(Math.abs(squares / 400 - 16) < 4 * Math.sqrt(32 / 400), `${squares / 400}`);
  const words = new Uint32Array(performerProjection({ dim: 3, features: 4 }).data.buffer);
  assertEquals(Array.from(words), bitsOfSeed0);
  assertNotEquals(
    performerProjection({ dim: 4, seed: 1 }).data,
    performerProjection({ dim: 4, seed: 2 }).data,
  );
  assertNotEquals(
    performerProjection({ dim: 4, seed: 1 }).data,
    performerProjection({ dim: 4, seed: 1 + 2 ** 32 }).data,
  );
  assertEquals(performerProjection({ dim: 64 }).shape, [272, 64]);
  assertEquals(performerProjection({ dim: 1 }).shape, [8, 1]);
  assertThrows(
    () => performerProjection({ dim: 2 ** 14, features: 2 ** 13 }),
    RangeError,
    `\`features\` times D and Dv must be at most ${2 ** 26}, got ${2 ** 13} times ${2 ** 14}`,
  );
});

contract("a seed is the projection that it stands for", async (engine) => {
  const x = rows([2, 20, 8], 1),
    projection = performerProjection({ dim: 8, features: 40, seed: 5 });
  const { out } = await performerAttention(x, x, x, { features: 40, seed: 5, engine });
  const { out: given } = await performerAttention(x, x, x, { projection, engine });
  assertSameBits(out.data, given.data);
  const usual = performerProjection({ dim: 8 });
  const { out: plain } = await performerAttention(x, x, x, { engine });
  const { out: same } = await performerAttention(x, x, x, { projection: usual, engine });
  assertSameBits(plain.data, same.data);
}, { needs: "hostTensors" });

const x = rows([2, 3, 4], 1), projection = rows([8, 4], 2);

/** What is refused: tensors in place of `x`, and options. */
const refusals: readonly [
  what: string,
  given: Given,
  error: new (...given: never[]) => Error,
  message: string,
][] = [
  ["no features", { features: 0 }, RangeError, "`features` must be a whole number >= 1, got 0"],
  [
    "a part of a feature",
    { features: 2.5 },
    RangeError,
    "`features` must be a whole number >= 1, got 2.5",
  ],
  ["features in words", { features: "8" }, TypeError, '`features` must be a number, got "8"'],
  [
    "too many features",
    { features: 2 ** 25 },
    RangeError,
    "`features` times D and Dv must be at most 67108864",
  ],
  ["a negative seed", { seed: -1 }, RangeError, "`seed` must be a whole number >= 0, got -1"],
  ["a seed that is no number", { seed: 1n }, TypeError, "`seed` must be a number, got 1"],
  [
    "a seed beside a projection",
    { seed: 0, projection },
    RangeError,
    "`seed` is for features of ours",
  ],
  [
    "other features than a projection's",
    { features: 9, projection },
    RangeError,
    "`projection` has 8 features, `features` says 9",
  ],
  [
    "a projection of another width",
    { projection: rows([8, 5], 1) },
    RangeError,
    "[features, D] or [Hkv, features, D] with D = 4 and Hkv = 2, got [8,5]",
  ],
  ["a projection of other heads", { projection: rows([3, 8, 4], 1) }, RangeError, "got [3,8,4]"],
  ["a projection of rank 4", { projection: rows([1, 2, 8, 4], 1) }, RangeError, "got [1,2,8,4]"],
  [
    "a projection without features",
    { projection: rows([0, 4], 1) },
    RangeError,
    "at least one feature, got [0,4]",
  ],
  [
    "a bare projection",
    { projection: projection.data },
    TypeError,
    "`projection` is a bare Float32Array",
  ],
  [
    "null as a projection",
    { projection: null },
    TypeError,
    "`projection` must be { data, shape }, got null",
  ],
  [
    "a kernel that there is not",
    { kernel: "exp" },
    TypeError,
    '`kernel` must be one of "softmax", "relu", got "exp"',
  ],
  [
    "causal in words",
    { causal: "top-left" },
    TypeError,
    '`causal` must be one of true, false, got "top-left"',
  ],
  ["a negative scale", { scale: -1 }, RangeError, "`scale` must be finite in f32 and at least 0"],
  [
    "an infinite scale",
    { scale: Infinity },
    RangeError,
    "`scale` must be finite in f32 and at least 0",
  ],
  ["a scale in words", { scale: "1" }, TypeError, '`scale` must be a number, got "1"'],
  ["a layout that there is not", { layout: "nhd" }, TypeError, "`layout` must be one of"],
  ["an unknown option", { eps: 1 }, TypeError, "unknown option `eps`, known are features"],
  ["no engine", { engine: {} }, TypeError, "`engine` must be what `createEngine()`"],
  [
    "out of another shape",
    { out: rows([2, 3, 5], 1) },
    RangeError,
    "`out` must have shape [2,3,4], got [2,3,5]",
  ],
  [
    "fewer queries than keys where causal",
    { q: rows([2, 2, 4], 1), causal: true },
    RangeError,
    "as many queries as keys",
  ],
  [
    "keys of another width",
    { k: rows([2, 3, 5], 1) },
    RangeError,
    "`k` must have D = 4 as `q` has, got 5",
  ],
  [
    "values of other keys",
    { v: rows([2, 4, 4], 1) },
    RangeError,
    "`v` must have Nk = 3 as `k` has, got 4",
  ],
  [
    "heads that do not share",
    { q: rows([3, 3, 4], 1) },
    RangeError,
    "Hq must be a multiple of Hkv",
  ],
  ["no tensor", { v: null }, TypeError, "`v` must be { data, shape }, got null"],
];

test("performerAttention() refuses what it cannot compute, and says why", async () => {
  for (const [what, { q = x, k = x, v = x, ...options }, Kind, message] of refusals) {
    const error = await errorOf(() => performerAttention(q, k, v, options));
    assertEquals((error as Error).constructor, Kind, what);
    const text = (error as Error).message;
    assert(text.startsWith("Cannot compute `performerAttention()`: "), text);
    assert(text.includes(message), `${what}: ${text}`);
  }
  await assertRefused(
    () => performerAttention(x, x, x, null as Given),
    TypeError,
    "Cannot compute `performerAttention()`: options must be an object, got null",
  );
  const error = await errorOf(() => performerAttention(x, x, x, 3 as Given)) as Error;
  assertEquals(
    error.message,
    "Cannot compute `performerAttention()`: options must be an object, got 3",
  );
});

test("its kin refuse what they cannot do", async () => {
  await assertRefused(
    () => createPerformerState({ causal: true } as Given),
    TypeError,
    "Cannot make a performer's state: unknown option `causal`, known are features, seed, " +
      "projection, kernel, scale, layout, engine",
  );
  await assertRefused(
    () => createPerformerState({ features: -1 }),
    RangeError,
    "Cannot make a performer's state: `features` must be a whole number >= 1, got -1",
  );
  await assertRefused(
    () => performerProjection({} as Given),
    TypeError,
    "Cannot make a projection: `dim` must be the D of queries and keys, got undefined",
  );
  await assertRefused(
    () => performerProjection({ dim: 0 }),
    RangeError,
    "Cannot make a projection: `dim` must be a whole number >= 1, got 0",
  );
  const { backward } = await performerAttentionWithGradient(x, x, x, { features: 8 } as Given);
  const cannot = "Cannot compute `performerAttentionWithGradient()`";
  await assertRefused(
    () => backward(rows([2, 3, 5], 1)),
    RangeError,
    `${cannot}: \`dOut\` must have shape [2,3,4], got [2,3,5]`,
  );
  await assertRefused(
    () => backward(x, { out: x } as Given),
    TypeError,
    `${cannot}: unknown option \`out\`, known are signal`,
  );
  assertEquals(await errorOf(() => backward(x, { signal: AbortSignal.abort("no") })), "no");
});
