import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { alibiSlopes, type AttentionOptions, type Engine, type Tensor } from "@flashtile/attention";
import { assertSameBits } from "../support/bits.ts";
import { expectation, resultsOf } from "../support/exact.ts";
import {
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  shapesOf,
  sizesOf,
  slice,
} from "../support/problem.ts";
import { boundariesOf, type Lengths } from "../support/plan.ts";
import { seeded, whole } from "../support/random.ts";
import { resident } from "../support/resident.ts";
import { type BackendUnderTest, contract } from "./backends.ts";

/** A problem of sequences one after the other. */
interface Packed {
  readonly lengths: readonly Lengths[];
  readonly problem: Problem;
  readonly cuSeqlens: { readonly q: readonly number[]; readonly k: readonly number[] };
}

function packed(lengths: readonly Lengths[], sizes: Partial<Problem["sizes"]> = {}): Packed {
  const cuSeqlens = boundariesOf(lengths);
  const all = { Hq: 4, Hkv: 2, D: 8, Dv: 6, ...sizes, B: 1 };
  const [Nq, Nk] = [cuSeqlens.q.at(-1)!, cuSeqlens.k.at(-1)!];
  return { lengths, cuSeqlens, problem: randomProblem(sizesOf({ ...all, Nq, Nk }), 1) };
}

/** Some sequences, among them empty ones, queries without keys and keys without queries. */
const some = packed([[3, 7], [0, 0], [40, 5], [1, 0], [5, 90], [0, 4], [70, 70], [6, 6], [2, 0]]);

/** One sequence of a packed problem by itself. */
function alone({ problem, cuSeqlens: { q, k } }: Packed, at: number): Problem {
  const { sizes } = problem, shapes = shapesOf(sizes);
  const of = (name: "q" | "k" | "v", ends: readonly number[]) =>
    slice(problem[name], shapes[name], 2, ends[at], ends[at + 1]);
  return {
    sizes: { ...sizes, Nq: q[at + 1] - q[at], Nk: k[at + 1] - k[at] },
    ...{ q: of("q", q), k: of("k", k), v: of("v", k) },
  };
}

/** The rows of one sequence in the results of all. */
function rowsOf(data: Float32Array, width: number, { problem, cuSeqlens }: Packed, at: number) {
  const { Hq, Nq } = problem.sizes, [from, to] = cuSeqlens.q.slice(at);
  return slice(data, [1, Hq, Nq, width], 2, from, to);
}

/** Asserts that each sequence gives what it gives alone: the same bits where rows do not depend on others. */
async function assertEach(
  engine: Engine,
  { lacks }: BackendUnderTest,
  given: Packed,
  together: Meaning,
  apart: (at: number) => Meaning,
): Promise<void> {
  const { problem, cuSeqlens, lengths } = given, meaning = { ...together, cuSeqlens };
  const all = await resultsOf(engine, problem, meaning);
  if (lacks?.sameBitsForFewRows !== undefined) return expectation(problem, meaning)(all);
  for (const [at, [queries, keys]] of lengths.entries()) {
    const one = await resultsOf(engine, alone(given, at), apart(at));
    const what = `sequence ${at} of ${queries} queries and ${keys} keys`;
    assertSameBits(rowsOf(all.out, problem.sizes.Dv, given, at), one.out, `out of ${what}`);
    assertSameBits(rowsOf(all.lse, 1, given, at), one.lse, `lse of ${what}`);
  }
}

/** Numbers of sequences. */
const count = some.lengths.length;
const offsets = Array.from({ length: count }, (_, at) => at * 3 - 9);
const lengths = some.lengths.map(([, keys], at) => Math.max(0, keys - at));
const slopes = Float32Array.from({ length: count * 4 }, (_, at) => (at + 1) / 40);

/** What sequences are asked together, and one of them alone. */
const cases: Record<string, { together: Meaning; apart?: (at: number) => Meaning }> = {
  "nothing else": { together: {} },
  "causal": { together: { causal: true } },
  "causal, top-left": { together: { causal: "top-left" } },
  "a window": { together: { window: [2, 1] } },
  "one offset": { together: { causal: true, offset: 2 } },
  "offsets": {
    together: { causal: true, offset: offsets },
    apart: (at) => ({ causal: true, offset: offsets[at] }),
  },
  "kvLengths": {
    together: { causal: true, kvLengths: lengths },
    apart: (at) => ({ causal: true, kvLengths: [lengths[at]] }),
  },
  "ALiBi": { together: { alibi: alibiSlopes(4) } },
  "ALiBi of each": {
    together: { alibi: { data: slopes, shape: [count, 4] }, causal: true, offset: offsets },
    apart: (at) => ({
      alibi: { data: slopes.slice(at * 4, at * 4 + 4), shape: [4] },
      causal: true,
      offset: offsets[at],
    }),
  },
  "softcap and sinks": {
    together: { softcap: 2, sinks: { data: Float32Array.of(1, 0, -Infinity, 3), shape: [4] } },
  },
};

for (const [name, { together, apart = () => together }] of Object.entries(cases)) {
  contract(
    `attention() attends to packed sequences as to each alone: ${name}`,
    (engine, backend) => assertEach(engine, backend, some, together, apart),
  );
  const check = expectation(some.problem, { ...together, cuSeqlens: some.cuSeqlens });
  contract(
    `attention() stays within the error budget for packed sequences: ${name}`,
    async (engine) =>
      check(await resultsOf(engine, some.problem, { ...together, cuSeqlens: some.cuSeqlens })),
  );
}

/** Lengths of many sequences, all short. */
const short = (() => {
  const random = seeded(3);
  return Array.from(
    { length: 300 },
    (): Lengths => [whole(random, 0, 5), whole(random, 0, 5)],
  );
})();

/** Sequences of all kinds. */
const sets: Record<string, Packed> = {
  "300 of at most 5 queries and keys": packed(short),
  "one long among short": packed([[2, 3], [1, 4], [200, 300], [3, 1], [0, 2], [4, 4]]),
  "few queries against many keys": packed([[1, 5000], [2, 40], [1, 0], [3, 2500], [40, 2100]]),
  "70 heads that share one": packed([[3, 9], [1, 30], [8, 2]], { Hq: 70, Hkv: 1 }),
  "heads that share none": packed([[9, 20], [33, 4], [1, 1]], { Hq: 3, Hkv: 3 }),
  "one sequence": packed([[30, 20]]),
  "only empty ones": packed([[0, 0], [0, 0]]),
  "no keys at all": packed([[2, 0], [3, 0]]),
};

for (const [name, given] of Object.entries(sets)) {
  contract(
    `attention() attends to packed sequences as to each alone: ${name}`,
    (engine, backend) =>
      assertEach(engine, backend, given, { causal: true }, () => ({ causal: true })),
  );
}

contract("attention() takes no sequence where there is nothing", async (engine) => {
  const q = { data: new Float32Array(0), shape: [4, 0, 8] };
  const { out, lse } = await engine.attention(q, q, q, {
    cuSeqlens: { q: [0], k: [0] },
    lse: true,
  });
  assertEquals([out.shape, lse.shape], [[4, 0, 8], [4, 0]]);
});

contract("attention() gives the same bits for one sequence and for none packed", async (engine) => {
  const { problem, cuSeqlens } = sets["one sequence"],
    meaning = { causal: true, window: [9, 0] } as const;
  const [one, plain] = [
    await resultsOf(engine, problem, { ...meaning, cuSeqlens }),
    await resultsOf(engine, problem, meaning),
  ];
  assertSameBits(one.out, plain.out);
  assertSameBits(one.lse, plain.lse);
});

contract("attention() takes boundaries from any array", async (engine) => {
  const { q, k } = some.cuSeqlens;
  const expected = await resultsOf(engine, some.problem, { cuSeqlens: some.cuSeqlens });
  const typed = { q: Int32Array.from(q), k: Uint16Array.from(k) };
  const { out } = await resultsOf(engine, some.problem, { cuSeqlens: typed });
  assertSameBits(out, expected.out);
});

contract("attention() gives zero and -Infinity for queries without keys", async (engine) => {
  const { problem, cuSeqlens } = some, { Hq, Nq, Dv } = problem.sizes;
  const out = { data: new Float32Array(Hq * Nq * Dv).fill(NaN), shape: [1, Hq, Nq, Dv] };
  const { q, k, v } = inputsOf(problem);
  const { lse } = await engine.attention(q, k, v, { cuSeqlens, out, lse: true });
  for (let row = 0; row < Hq * Nq; row++) {
    const i = row % Nq, isEmpty = i === 43 || i >= 125; // Sequence 3, and the last one.
    assertEquals(lse.data[row] === -Infinity, isEmpty, `row ${row}`);
    const values = out.data.subarray(row * Dv, (row + 1) * Dv);
    assert(values.every((x) => isEmpty ? Object.is(x, 0) : Number.isFinite(x)));
  }
});

/** Elements `[H, N, D]` as `[N, H, D]`. */
function turned(data: Float32Array, H: number, N: number, D: number): Tensor {
  const shape = [N, H, D];
  const at = (n: number, h: number, d: number) => (h * N + n) * D + d;
  return {
    data: Float32Array.from(
      data,
      (_, e) => data[at(Math.floor(e / D / H), Math.floor(e / D) % H, e % D)],
    ),
    shape,
  };
}

contract("attention() takes packed sequences in every rank and layout", async (engine) => {
  const { problem, cuSeqlens } = some, { Hq, Hkv, Nq, Nk, D, Dv } = problem.sizes;
  const options = { causal: true, cuSeqlens, lse: true } as const;
  const { out, lse } = await resultsOf(engine, problem, { causal: true, cuSeqlens });
  const rank3 = await engine.attention(
    { data: problem.q, shape: [Hq, Nq, D] },
    { data: problem.k, shape: [Hkv, Nk, D] },
    { data: problem.v, shape: [Hkv, Nk, Dv] },
    options,
  );
  assertEquals([rank3.out.shape, rank3.lse.shape], [[Hq, Nq, Dv], [Hq, Nq]]);
  assertSameBits(rank3.out.data, out);
  assertSameBits(rank3.lse.data, lse);
  const bnhd = await engine.attention(
    turned(problem.q, Hq, Nq, D),
    turned(problem.k, Hkv, Nk, D),
    turned(problem.v, Hkv, Nk, Dv),
    { ...options, layout: "bnhd" },
  );
  assertEquals([bnhd.out.shape, bnhd.lse.shape], [[Nq, Hq, Dv], [Hq, Nq]]);
  assertSameBits(bnhd.out.data, turned(out, Hq, Nq, Dv).data);
  assertSameBits(bnhd.lse.data, lse);
});

contract("attention() takes packed sequences of rank 2", async (engine) => {
  const given = packed([[4, 9], [30, 2], [7, 7]], { Hq: 1, Hkv: 1 }),
    { problem, cuSeqlens } = given;
  const { Nq, Nk, D, Dv } = problem.sizes;
  const { out } = await engine.attention(
    { data: problem.q, shape: [Nq, D] },
    { data: problem.k, shape: [Nk, D] },
    { data: problem.v, shape: [Nk, Dv] },
    { cuSeqlens },
  );
  assertSameBits(out.data, (await resultsOf(engine, problem, { cuSeqlens })).out);
});

contract(
  "attention() reads bias, mask and out of packed sequences over all rows",
  async (engine) => {
    const { problem, cuSeqlens } = some, { Nq, Nk } = problem.sizes, random = seeded(4);
    const data = Float32Array.from({ length: Nq * Nk }, () => random() * 3);
    const mask = { data: data.map((x) => x < 2 ? 1 : 0), shape: [Nq, Nk] };
    const meaning = {
      ...{ cuSeqlens, causal: true, bias: { data, shape: [Nq, Nk] } },
      mask: { data: Uint8Array.from(mask.data), shape: [Nq, Nk] },
    };
    expectation(problem, meaning)(await resultsOf(engine, problem, meaning));
  },
);

contract(
  "attention() reads inputs and bias of packed sequences in its own memory",
  async (engine) => {
    const { problem, cuSeqlens } = some, { Nq, Nk } = problem.sizes, random = seeded(5);
    const bias = {
      data: Float32Array.from({ length: Nq * Nk }, () => random() * 3),
      shape: [Nq, Nk],
    };
    const expected = await resultsOf(engine, problem, { cuSeqlens, bias });
    const { q, k, v } = inputsOf(problem);
    const out = { data: new Float32Array(expected.out.length), shape: shapesOf(problem.sizes).out };
    const held = [q, k, v, bias, out].map((tensor) => resident(engine, tensor));
    const options = { cuSeqlens, bias: held[3], out: held[4], lse: true } as const;
    const { lse } = await engine.attention(held[0], held[1], held[2], options);
    assertSameBits(held[4].data, expected.out);
    assertSameBits(lse.data, expected.lse);
  },
  { needs: "hostTensors" },
);

contract("attention() lets nothing of one sequence into another", async (engine) => {
  const { problem, cuSeqlens } = some, { sizes } = problem, { Nk } = sizes;
  const expected = await resultsOf(engine, problem, { cuSeqlens });
  const [from, to] = cuSeqlens.k.slice(4); // The fifth sequence's keys.
  for (const poison of [NaN, Infinity]) {
    const bad = (data: Float32Array, width: number) =>
      data.map((x, at) => {
        const j = Math.floor(at / width) % Nk;
        return j >= from && j < to ? poison : x;
      });
    const poisoned = { ...problem, k: bad(problem.k, sizes.D), v: bad(problem.v, sizes.Dv) };
    const { out, lse } = await resultsOf(engine, poisoned, { cuSeqlens });
    for (const at of some.lengths.keys()) {
      if (at === 4) {
        assert(rowsOf(lse, 1, some, at).every(Number.isNaN));
        continue;
      }
      assertSameBits(rowsOf(out, sizes.Dv, some, at), rowsOf(expected.out, sizes.Dv, some, at));
      assertSameBits(rowsOf(lse, 1, some, at), rowsOf(expected.lse, 1, some, at));
    }
  }
});

contract("attention() tells the progress of all packed rows", async (engine) => {
  const { problem, cuSeqlens } = some, { q, k, v } = inputsOf(problem);
  const told: { done: number; total: number }[] = [];
  const options: AttentionOptions = { cuSeqlens, onProgress: (progress) => told.push(progress) };
  await engine.attention(q, k, v, options);
  const total = problem.sizes.Hq * problem.sizes.Nq;
  assertEquals(told.at(-1), { done: total, total });
});

contract("attention() gives the natural logarithm of each sequence's own sum", async (engine) => {
  const zeros = { data: new Float32Array(10), shape: [10, 1] };
  const cuSeqlens = { q: [0, 3, 9, 10], k: [0, 1, 3, 10] };
  const { lse } = await engine.attention(zeros, zeros, zeros, { cuSeqlens, lse: true });
  const keys = [1, 1, 1, 2, 2, 2, 2, 2, 2, 7];
  lse.data.forEach((x, at) => assertAlmostEquals(x, Math.log(keys[at]), 2 ** -22));
});
