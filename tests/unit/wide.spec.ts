// Wide kernels, as they are without widening: what V8 does to them is in tools/wide_tests.

import { alibiSlopes, blockMask, createEngine, type Engine } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { decode } from "../../src/wasm/binary/module.ts";
import { sizes, wideProbe } from "../../src/wide/binary.gen.ts";
import { chooseWide, race } from "../../src/wide/choice.ts";
import { nameOfFlag, setFlag } from "../../src/wide/flag.ts";
import { binaries, wideBinary } from "../support/binaries.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertRefused } from "../support/errors.ts";
import { resultsOf } from "../support/exact.ts";
import { assertSameGradients, gradientCall, gradientsOf } from "../support/gradients.ts";
import { type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";

const needsRelaxed = WebAssembly.validate(binaries.relaxed)
  ? {}
  : { skip: "this runtime has no relaxed SIMD" };

interface Case {
  readonly name: string;
  readonly sizes: Parameters<typeof sizesOf>[0];
  readonly meaning?: Meaning;
}

const cases: readonly Case[] = [
  { name: "whole tiles", sizes: { Hq: 2, Nq: 128, D: 64 } },
  { name: "D = 128, several tiles", sizes: { Nq: 64, Nk: 700, D: 128 } },
  { name: "ragged sizes", sizes: { Hq: 3, Nq: 77, Nk: 201, D: 33, Dv: 19 } },
  { name: "Dv below eight", sizes: { Nq: 30, Nk: 50, D: 4, Dv: 4 } },
  { name: "long rows, summed in runs", sizes: { Nq: 16, Nk: 3000, D: 12 } },
  { name: "causal", sizes: { Hq: 2, Nq: 150, D: 64 }, meaning: { causal: true } },
  {
    name: "bounds that end within a four, and within an eight",
    sizes: { Hq: 2, Nq: 75, Nk: 230, D: 24, Dv: 20 },
    meaning: { causal: true, kvLengths: [213] },
  },
  {
    name: "a window and grouped heads",
    sizes: { Hq: 4, Hkv: 2, Nq: 90, Nk: 140, D: 40 },
    meaning: { causal: true, window: [30, 0] },
  },
  {
    name: "ALiBi",
    sizes: { Hq: 4, Nq: 90, D: 32 },
    meaning: { causal: true, alibi: alibiSlopes(4) },
  },
  {
    name: "softcap, a bias that masks, sinks",
    sizes: { Hq: 2, Nq: 60, Nk: 70, D: 32 },
    meaning: {
      softcap: 5,
      bias: {
        data: normals(60 * 70, seeded(1)).map((x) => x > 1 ? -Infinity : x),
        shape: [60, 70],
      },
      sinks: { data: normals(2, seeded(2)), shape: [2] },
    },
  },
  {
    name: "a block mask",
    sizes: { Nq: 100, Nk: 90, D: 48 },
    meaning: {
      blockMask: blockMask.fromFunction((_b, _h, i, j) => (i * j) % 3 > 0, {
        ...{ queries: 100, keys: 90, block: [20, 8] },
      }),
    },
  },
];

/** Uses an engine of either program. */
async function withBoth(use: (narrow: Engine, wide: Engine) => Promise<void>): Promise<void> {
  const [narrow, wide] = await Promise.all(
    [binaries.relaxed, wideBinary].map(async (bytes) =>
      await createEngine({ backend: "wasm", module: await WebAssembly.compile(bytes) })
    ),
  );
  try {
    await use(narrow, wide);
  } finally {
    await narrow.close();
    await wide.close();
  }
}

for (const { name, sizes, meaning = {} } of cases) {
  test(`wide kernels give the same bits: ${name}`, needsRelaxed, async () => {
    const problem = randomProblem(sizesOf(sizes), 1), call = gradientCall(problem, meaning);
    await withBoth(async (narrow, wide) => {
      const expected = await resultsOf(narrow, problem, meaning);
      const actual = await resultsOf(wide, problem, meaning);
      assertSameBits(actual.out, expected.out, "out");
      assertSameBits(actual.lse, expected.lse, "lse");
      assertSameGradients(await gradientsOf(wide, call), await gradientsOf(narrow, call));
    });
  });
}

const dtypes = ["f32", "f16", "bf16", "int8", "int4"] as const;

for (const dtype of dtypes) {
  test(`wide kernels give the same bits against a cache of ${dtype}`, needsRelaxed, async () => {
    const headDim = 44, tokens = 83, random = seeded(3);
    const make = (shape: readonly number[]) => ({
      data: normals(shape.reduce((a, b) => a * b, 1), random),
      shape,
    });
    const k = make([1, 2, tokens, headDim]), v = make([1, 2, tokens, headDim]);
    const queries = [1, 2, 3, 9].map((heads) => make([1, 2 * heads, 1, headDim]));
    await withBoth(async (...engines) => {
      const [expected, actual] = await Promise.all(engines.map(async (engine) => {
        const cache = engine.kvCache({ kvHeads: 2, headDim, dtype });
        cache.append(k, v);
        const results = [];
        for (const q of queries) results.push((await cache.attend(q)).out.data as Float32Array);
        return results;
      }));
      actual.forEach((out, at) => assertSameBits(out, expected[at]));
    });
  });
}

test("wide kernels leave no trace of what is not finite behind a mask", needsRelaxed, async () => {
  const problem = randomProblem(sizesOf({ Nq: 40, Nk: 64, D: 32 }), 1);
  problem.k.fill(NaN, 30 * 32);
  problem.v.fill(Infinity, 30 * 32);
  await withBoth(async (narrow, wide) => {
    const meaning = { causal: true, offset: -10 };
    const expected = await resultsOf(narrow, problem, meaning);
    assert(expected.out.every(Number.isFinite));
    assertSameBits((await resultsOf(wide, problem, meaning)).out, expected.out);
  });
});

test("both shapes that are raced compute the same", needsRelaxed, () => {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(decode(wideProbe)));
  const { memory, narrow, wide } = exports as unknown as {
    memory: WebAssembly.Memory;
    narrow(at: number, count: number): void;
    wide(at: number, count: number): void;
  };
  // Behind a record: twelve keys and sixteen queries of 64 numbers.
  const numbers = new Float32Array(memory.buffer, 32), inputs = 28 * 64, end = inputs + 12 * 16;
  numbers.set(normals(inputs, seeded(1)));
  narrow(0, 1);
  const expected = numbers.slice(inputs, end);
  assert(expected.every((x) => x !== 0));
  numbers.fill(0, inputs);
  wide(0, 1);
  assertSameBits(numbers.subarray(inputs, end), expected);
});

/** A race in which products take so many milliseconds at some time. */
function raceOf(narrow: (time: number) => number, wide: (time: number) => number): boolean {
  let time = 0;
  const runner = (taking: (time: number) => number) => () => void (time += taking(time));
  return race({ narrow: runner(narrow), wide: runner(wide) }, () => time);
}

test("race() counts only what both shapes take in V8's best code", () => {
  assert(raceOf(() => 1, () => 0.9));
  assert(!raceOf(() => 1, () => 1.7));
  // In the first code, which is never the best, the wide shape is ahead.
  assert(!raceOf((time) => time < 20 ? 4 : 1, (time) => time < 20 ? 0.5 : 1.7));
});

test("race() knows no winner by a clock that stands still for each product", () => {
  let time = 0;
  assert(!race({ narrow: () => {}, wide: () => {} }, () => Math.floor(time++ / 1000)));
});

test("chooseWide() says why kernels are not wide, or brings them", () => {
  const choice = { name: "relaxed", reason: "fuses" } as const;
  assertEquals(chooseWide(choice, "no"), { ...choice, reason: "fuses; not wide: no" });
  const { reason, wide } = chooseWide(choice);
  assert(/^fuses; (not )?wide: /.test(reason), reason);
  assertEquals(wide === undefined, reason.includes("not wide"));
  assertEquals(wide?.().length ?? sizes.relaxed, sizes.relaxed);
});

test("race() waits longer where it would be lost, for code that comes late", () => {
  assert(raceOf((time) => time < 70 ? 4 : 1, (time) => time < 120 ? 9 : 0.6));
  assert(!raceOf(() => 1, (time) => time < 250 ? 9 : 0.6));
});

test("nameOfFlag() is what a version of V8 calls it, where that is known", () => {
  const names = [
    "13.6.233.10-node.28",
    "14.6.202.34-node.34",
    "15.0.245.2",
    "15.3.1",
    "15.6.0",
    "16.0",
  ];
  const [older, newer] = ["--experimental-wasm-revectorize", "--wasm-revectorize"];
  assertEquals(names.map(nameOfFlag), [older, older, older, undefined, newer, newer]);
  assertEquals(nameOfFlag(undefined), undefined);
});

test("setFlag() tells where it cannot be set, or that it is too late", () => {
  let reason: string | undefined;
  try {
    reason = setFlag(() => true);
  } catch (error) {
    assertEquals(
      (error as Error).message,
      "Cannot widen: a binary is compiled already; import `wide` before the first engine is made " +
        "and the first function is called",
    );
    return;
  }
  assert(reason !== undefined && reason !== "", reason);
});

test("createEngine() says what `wide` needs", async () => {
  const message = "Cannot create an engine: `wide` needs the subpath of that name, imported before";
  await assertRefused(() => createEngine({ backend: "wasm", wide: true }), TypeError, message);
  const wide = "yes" as unknown as boolean;
  const words = "Cannot create an engine: `wide` must be a boolean";
  await assertRefused(() => createEngine({ wide }), TypeError, words);
});

test("chooseWide() has nothing to offer to a binary without relaxed SIMD", () => {
  const choice = { name: "simd", reason: "none" } as const;
  const reason = "none; not wide: this engine joins no vectors";
  assertEquals(chooseWide(choice), { ...choice, reason });
});
