import {
  attentionStream,
  captured,
  createEngine,
  type Engine,
  type MaskMod,
  type ScoreFunctions,
  where,
} from "@flashtile/attention";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { programs } from "../../src/wasm/scored/compiled.ts";
import { codes } from "../../src/webgpu/scored/code.ts";
import { meaning, problemOf, runs } from "../support/arbitrary.ts";
import { assertSameBits } from "../support/bits.ts";
import { withEngines } from "../support/engines.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { expectation, resultsOf } from "../support/exact.ts";
import { once } from "../support/once.ts";
import { boundariesOf } from "../support/plan.ts";
import { inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { deep, few, functions, large, table } from "../support/functions.ts";
import { problemOfCase, scoreCases } from "../support/score_functions.ts";
import { sharedOut, sharedOutByShader } from "../support/share.ts";
import { rounded, storages, stored } from "../support/storage.ts";
import { maskMods } from "../support/written.ts";
import { assertGivenBack, contract } from "./backends.ts";

const needs = "functions" as const;

for (const { name, read } of sharedOut(scoreCases, 8, "scores on engines")) {
  const given = once(() => {
    const problem = problemOfCase(read()), { functions } = read();
    return { problem, functions, check: expectation(problem, functions) };
  });
  contract(`attention() agrees with flex_attention on ${name}`, async (engine) => {
    const { problem, functions, check } = given();
    check(await resultsOf(engine, problem, functions));
  }, { daily: 1 / 3, needs });
}

for (const [name, asked] of sharedOutByShader(Object.entries(functions), 5, "functions")) {
  const check = expectation(large, asked);
  contract(`attention() takes functions: ${name}`, async (engine) => {
    check(await resultsOf(engine, large, asked));
  }, { daily: 1 / 3, needs });

  test(`attention() with functions has the same bits on any number of threads: ${name}`, async () => {
    await withEngines(async (alone, teams) => {
      const expected = await resultsOf(alone, large, asked);
      for (const team of teams) {
        const { out, lse } = await resultsOf(team, large, asked);
        assertSameBits(out, expected.out);
        assertSameBits(lse, expected.lse);
      }
    });
  });
}

for (const [name, asked] of sharedOut(Object.entries(deep), 2, "deep functions")) {
  const check = expectation(few, asked);
  contract(`attention() takes functions as deep as they come: ${name}`, async (engine) => {
    check(await resultsOf(engine, few, asked));
  }, { needs: "deepFunctions" });
}

/** Rows enough: over a few numbers the plain formula is exact by luck. */
const sizes = fc.record({
  ...{ B: fc.integer({ min: 1, max: 2 }), Hkv: fc.integer({ min: 1, max: 2 }) },
  ...{ group: fc.constantFrom(1, 2, 3), Nq: fc.constantFrom(33, 64, 65, 90) },
  ...{ Nk: fc.constantFrom(40, 95, 193, 257), D: fc.integer({ min: 8, max: 20 }) },
  Dv: fc.integer({ min: 6, max: 12 }),
}).map(({ group, ...rest }) => ({ ...rest, Hq: rest.Hkv * group }));

contract("attention() masks by any function of whole numbers", async (engine) => {
  const calls = fc.record({ sizes, seed: fc.nat(), maskMod: maskMods(true) })
    .chain(({ sizes, ...rest }) => meaning(sizes).map((other) => ({ sizes, other, ...rest })));
  await fc.assert(
    fc.asyncProperty(calls, async ({ sizes, other, seed, maskMod }) => {
      const problem = problemOf(sizes, seed);
      // With a scale of 0 rows are means of the same numbers: exact by luck, too.
      const asked = { ...other, scale: other.scale || 0.3, maskMod };
      expectation(problem, asked)(await resultsOf(engine, problem, asked));
    }),
    runs(40),
  );
}, { daily: 1 / 3, needs });

contract("attention() counts rows and keys within their sequence for functions", async (engine) => {
  const cuSeqlens = boundariesOf([[3, 7], [0, 0], [40, 5], [1, 300], [70, 70], [2, 0]]);
  const [Nq, Nk] = [cuSeqlens.q.at(-1)!, cuSeqlens.k.at(-1)!];
  const problem = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq, Nk, D: 8 }), 3);
  const asked: Meaning = {
    cuSeqlens,
    scoreMod: (score, { b, q, k }) => score.add(b.toF32()).add(q.sub(k).toF32().mul(0.1)),
    maskMod: ({ b, k }) => k.mod(b.add(2)).ne(0),
  };
  expectation(problem, asked)(await resultsOf(engine, problem, asked));
}, { daily: 1 / 3, needs });

contract("attention() takes functions with tensors of 16 bits, of both layouts", async (engine) => {
  const asked = functions["documents, causal"];
  const given = inputsOf(large), [q, k, v] = [given.q, given.k, given.v];
  for (const dtype of storages) {
    const [ofQ, ofK, ofV] = [q, k, v].map((one) => stored(one, dtype));
    const [wideQ, wideK, wideV] = [q, k, v].map((one) => ({
      ...one,
      data: rounded(one.data, dtype),
    }));
    const expected = await engine.attention(wideQ, wideK, wideV, { ...asked, lse: true });
    const { out, lse } = await engine.attention(ofQ, ofK, ofV, { ...asked, lse: true });
    assertSameBits(lse.data, expected.lse.data);
    assertSameBits(out.data, stored(expected.out, dtype).data);
  }
}, { daily: 1 / 3, needs });

/** Runs a small call whose keys are scored by the elements of an array. */
async function byTable(engine: Engine, array: ReturnType<typeof captured>): Promise<Float32Array> {
  const { q, k, v } = inputsOf(small);
  const { lse } = await engine.attention(q, k, v, {
    ...{ lse: true, scoreMod: (_, place) => (array as typeof table).at(place.k) },
  });
  return lse.data;
}

const small = randomProblem(sizesOf({ Nq: 3, Nk: 4, D: 5 }), 4);
const logOfSum = (scores: readonly number[]) =>
  Math.fround(Math.log(scores.reduce((sum, x) => sum + Math.exp(x), 0)));

contract(
  "what functions capture is read by each call anew, and nothing is compiled again",
  async (engine) => {
    const data = Float32Array.of(1, 2, 3, 4), array = captured(data, [4]);
    const seen = async () => (await byTable(engine, array))[0];
    const close = (actual: number, numbers: readonly number[]) =>
      assert(Math.abs(actual - logOfSum(numbers)) < 1e-6, `${actual}`);
    close(await seen(), [1, 2, 3, 4]);
    const compiled = programs.count + codes.count;
    data.set([5, 6, 7, 8]);
    close(await seen(), [5, 6, 7, 8]);
    // Other arrays and other literals, at the same time, are the same program.
    const others = [1, 2, 3, 4].map((first) => captured(Float32Array.of(first, 0, 0, 0), [4]));
    const found = await Promise.all(others.map((one) => byTable(engine, one)));
    found.forEach((one, at) => close(one[0], [at + 1, 0, 0, 0]));
    assertEquals(programs.count + codes.count, compiled);
  },
  { needs },
);

contract("what masks skip is decided by an array's elements as they are", async (engine) => {
  const data = new Int32Array(301), array = captured(data, [301]);
  const asked: Meaning = { maskMod: ({ k }) => array.at(k).eq(1) };
  for (const [from, to] of [[0, 301], [3, 4], [140, 260], [300, 301]]) {
    data.fill(0);
    data.fill(1, from, to);
    const plain = { mask: { data: Uint8Array.from(data), shape: [1, 301] } };
    expectation(large, plain)(await resultsOf(engine, large, asked), `${from} to ${to}`);
  }
}, { daily: 1 / 3, needs });

contract("values that functions mask leave no trace", async (engine) => {
  const { q, k, v } = inputsOf(large),
    poisoned = Float32Array.from(v.data),
    { Nk, Dv } = large.sizes;
  for (let head = 0; head < 4; head++) {
    for (let at = 0; at < Nk; at += 5) {
      poisoned.fill(NaN, (head * Nk + at) * Dv, (head * Nk + at + 1) * Dv);
    }
  }
  for (
    const asked of [
      { maskMod: ({ k }) => k.mod(5).ne(0) },
      { scoreMod: (score, { k }) => where(k.mod(5).eq(0), -Infinity, score) },
    ] satisfies ScoreFunctions[]
  ) {
    const expected = await engine.attention(q, k, v, asked);
    const { out } = await engine.attention(q, k, { ...v, data: poisoned }, asked);
    assertSameBits(out.data, expected.out.data);
  }
}, { daily: 1 / 3, needs });

contract("one function serves two engines at a time", async (engine, backend) => {
  const other = await backend.make();
  try {
    const asked = functions["a table by head and distance"];
    const [a, b] = await Promise.all([engine, other].map((one) => resultsOf(one, large, asked)));
    assertSameBits(a.out, b.out);
  } finally {
    await other.close();
  }
}, { needs });

contract("a stream's keys are counted over all that is pushed", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 9, Nk: 4500, D: 6 }), 5);
  const { q, k, v } = inputsOf(problem);
  const asked: ScoreFunctions = {
    scoreMod: (score, { h, q, k }) => score.add(table.at(h, k.sub(q).floorDiv(12))),
    maskMod: ({ q, k }) => k.mod(q.add(2)).ne(0),
  };
  const stream = attentionStream(q, { ...asked, engine }), cuts = [0, 1, 2048, 2500, 4500];
  for (let at = 1; at < cuts.length; at++) {
    const rows = ({ data }: typeof k) => ({
      ...{ data, shape: [1, 2, cuts[at] - cuts[at - 1], 6], offset: cuts[at - 1] * 6 },
      strides: [0, 4500 * 6, 6, 1],
    });
    stream.push(rows(k), rows(v));
  }
  const { out, lse } = await stream.finish();
  expectation(problem, asked)({ out: out.data, lse: lse.data });
}, { daily: 1 / 3, needs });

contract("a cache's queries and keys are by their place in the sequence", async (engine) => {
  const { q, k, v } = inputsOf(
    randomProblem(sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 5, Nk: 300, D: 16 }), 6),
  );
  const asked: ScoreFunctions = {
    scoreMod: (score, { b, h, q, k }) => score.add(table.at(h, q.sub(k))).mul(b.add(1).toF32()),
    maskMod: ({ q, k }) => q.sub(k).lt(200),
  };
  const moved: ScoreFunctions = {
    scoreMod: (score, place) => asked.scoreMod!(score, { ...place, q: place.q.add(295) }),
    maskMod: (place) => asked.maskMod!({ ...place, q: place.q.add(295) }),
  };
  const expected = await engine.attention(q, k, v, { ...moved, causal: true, lse: true });
  using cache = engine.kvCache({ batch: 2, kvHeads: 2, headDim: 16 });
  await cache.append(k, v);
  const { out, lse } = await cache.attend(q, { ...asked, causal: true, lse: true });
  for (const [one, other] of [[out, expected.out], [lse, expected.lse]]) {
    one.data.forEach((x, at) => assert(Math.abs(x - other.data[at]) < 2e-6, `${x}`));
  }
}, { needs: ["functions", "kvCache"] });

contract("caches of every storage take functions", async (engine) => {
  const { q, k, v } = inputsOf(
    randomProblem(sizesOf({ Hq: 2, Nq: 1, Nk: 200, D: 32 }), 7),
  );
  const maskMod: MaskMod = ({ q, k }) => q.sub(k).mod(3).eq(0);
  const mask = {
    data: Uint8Array.from({ length: 200 }, (_, at) => Number((199 - at) % 3 === 0)),
    shape: [1, 200],
  };
  for (const dtype of ["f32", "f16", "bf16", "int8", "int4"] as const) {
    using cache = engine.kvCache({ kvHeads: 2, headDim: 32, dtype });
    await cache.append(k, v);
    const expected = await cache.attend(q, { mask });
    const { out } = await cache.attend(q, { maskMod });
    const most = dtype.startsWith("int") ? 0.02 : 1e-5; // Of integers a query is rounded, too.
    out.data.forEach((x, at) =>
      assert(Math.abs(x - expected.out.data[at]) < most, `${dtype}: ${x}, ${expected.out.data[at]}`)
    );
  }
}, { needs: ["functions", "int4Cache"] });

contract(
  "a call with functions gives all memory back, also where it is aborted",
  async (engine, backend) => {
    const long = inputsOf(randomProblem(sizesOf({ Hq: 16, Nq: 700, D: 64 }), 0));
    const run = (options = {}) =>
      engine.attention(long.q, long.k, long.v, {
        ...{ ...functions["a table by head and distance"], ...options },
      });
    await run();
    const bytes = engine.memoryBytes;
    for (let time = 0; time < 3; time++) {
      const controller = new AbortController();
      const onProgress = () => controller.abort();
      await errorOf(() => run({ signal: controller.signal, onProgress }));
    }
    await run();
    assertGivenBack(engine, bytes, backend);
  },
  { daily: 1 / 3, needs },
);

contract("an array that became too short is refused, and the engine goes on", async (engine) => {
  const data = Float32Array.of(1, 2, 3, 4), array = captured(data, [4]);
  structuredClone(data.buffer, { transfer: [data.buffer] });
  await assertRefused(
    () => byTable(engine, array),
    RangeError,
    "Cannot attend: a captured array of shape [4] needs 4 elements, its data has 0 by now",
  );
  await byTable(engine, captured(Float32Array.of(1, 2, 3, 4), [4]));
}, { needs });

test("an array in an engine's memory can be captured, and stays while that grows", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    const own = engine.tensor([4]);
    own.data.set([1, 2, 3, 4]);
    const array = captured(own.data, [4]);
    engine.tensor([1000, 1000]); // The memory grows.
    const [lse] = await byTable(engine, array);
    assert(Math.abs(lse - logOfSum([1, 2, 3, 4])) < 1e-6, `${lse}`);
    own.free();
    await assertRejects(() => byTable(engine, array), TypeError, "after `free()`");
  } finally {
    await engine.close();
  }
});

test("attentionSync() takes functions once the engine is ready for them", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    const { q, k, v } = inputsOf(small), asked = functions["documents, causal"];
    await assertRefused(
      () => engine.attentionSync(q, k, v, asked),
      Error,
      "Cannot attend: what `scoreMod` and `maskMod` need is not loaded yet, which takes a promise; " +
        "call `await engine.warmup({ functions: true })` first",
    );
    await engine.warmup({ functions: true });
    const { out } = engine.attentionSync(q, k, v, asked);
    assertSameBits(out.data, (await engine.attention(q, k, v, asked)).out.data);
    // Integers would be of other scores.
    const exact = engine.attentionSync(q, k, v, { ...asked, precision: "int8" });
    assertSameBits(exact.out.data, out.data);
  } finally {
    await engine.close();
  }
});
