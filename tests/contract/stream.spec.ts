import { assert, assertEquals } from "@std/assert";
import {
  attentionStream,
  type DType,
  type HostData,
  type Layout,
  type NumberList,
  type OnEngine,
  type StreamOptions,
  type Tensor,
} from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import fc from "fast-check";
import { arrangement, problemOf, runs } from "../support/arbitrary.ts";
import { present, retrieve } from "../support/arrangement.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure, rootMeanSquare } from "../support/budget.ts";
import { assertRefused, errorOf } from "../support/errors.ts";
import { naiveAttention } from "../support/naive.ts";
import { oncePerKey } from "../support/once.ts";
import {
  type Extents,
  type Inputs,
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  shapesOf,
  sizesOf,
  slice,
} from "../support/problem.ts";
import { rounded, stored } from "../support/storage.ts";
import { assertGivenBack, contract } from "./backends.ts";

/** Keys of a block. */
const block = 2048;

/** Rows `from` to `to` of a contiguous tensor `[B, H, N, D]`, where they are. */
function rowsOf<Data extends HostData>(all: Tensor<Data>, from: number, to: number): Tensor<Data> {
  const [B, H, N, D] = all.shape;
  const strides = [H * N * D, N * D, D, 1];
  return { ...all, shape: [B, H, to - from, D], strides, offset: from * D };
}

/** The pieces of keys and values that end at `cuts`, and at the last key. */
function piecesOf({ k, v }: Pick<Inputs, "k" | "v">, cuts: readonly number[]): [Tensor, Tensor][] {
  const ends = [...cuts, k.shape[2]];
  return ends.map((
    end,
    at,
  ) => [rowsOf(k, ends[at - 1] ?? 0, end), rowsOf(v, ends[at - 1] ?? 0, end)]);
}

/** Pushes pieces without waiting for any. */
async function streamed(
  q: Tensor,
  pieces: readonly (readonly [Tensor<HostData>, Tensor<HostData>])[],
  options: StreamOptions & OnEngine,
) {
  const stream = attentionStream(q, options);
  for (const [k, v] of pieces) stream.push(k, v);
  return await stream.finish();
}

/**
 * Streams over several blocks, of some 64 rows: over a few numbers the plain formula is often exact by
 * luck.
 */
const sizes = fc.record({
  Hkv: fc.integer({ min: 1, max: 2 }),
  rows: fc.constantFrom([1, 16], [16, 1], [8, 2], [3, 5], [1, 17], [2, 33], [1, 64]),
  Nk: fc.oneof(
    fc.constantFrom(1, block - 1, block, block + 1, 2 * block, 2 * block + 70),
    fc.integer({ min: 1, max: 5000 }),
  ),
  D: fc.integer({ min: 1, max: 12 }),
  Dv: fc.integer({ min: 1, max: 9 }),
});

const problems = fc.record({ sizes, seed: fc.nat(), spread: fc.constantFrom(1, 1, 4) })
  .map(({ sizes: { rows: [group, Nq], ...rest }, seed, spread }) =>
    problemOf(
      { ...rest, B: Math.ceil(64 / (rest.Hkv * group * Nq)), Hq: rest.Hkv * group, Nq },
      seed,
      spread,
    )
  );

/** Where rows are among the keys, also before and behind all of them. */
function positions({ sizes: { B, Nk } }: Problem): fc.Arbitrary<Meaning> {
  const offset = fc.integer({ min: -20, max: Nk + 20 });
  const offsets = fc.oneof(offset, fc.array(offset, { minLength: B, maxLength: B }));
  const side = fc.oneof(fc.constant(null), fc.integer({ min: 0, max: Nk }));
  return fc.oneof(
    fc.constant({}),
    fc.constant<Meaning>({ causal: "top-left" }),
    fc.record({ causal: fc.boolean(), offset: offsets }),
    fc.record({ offset: offsets, window: fc.tuple(side, side), causal: fc.boolean() }),
  );
}

/** Everything else that changes scores. */
function terms({ sizes: { Hq } }: Problem, hasPositions: boolean): fc.Arbitrary<Meaning> {
  const perHead = (from: number, to: number) =>
    fc.array(fc.double({ min: from, max: to, noNaN: true }), { minLength: Hq, maxLength: Hq })
      .map((list) => ({ data: Float32Array.from(list), shape: [Hq] }));
  const maybe = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: undefined, freq: 2 });
  return fc.record({
    scale: maybe(fc.constantFrom(0.05, 0.7, -0.5)),
    softcap: maybe(fc.constantFrom(0.8, 20)),
    sinks: maybe(perHead(-3, 9)),
    alibi: hasPositions ? maybe(perHead(0, 0.01)) : fc.constant(undefined),
  });
}

const meanings = problems.chain((problem) =>
  positions(problem).chain((where) =>
    terms(problem, where.causal === "top-left" || where.offset !== undefined).map((others) => ({
      problem,
      meaning: { ...where, ...others },
    }))
  )
);

/** Where keys are cut: some pieces are empty. */
const cuts = (Nk: number) =>
  fc.array(fc.integer({ min: 0, max: Nk }), { maxLength: 6 })
    .map((all) => all.toSorted((a, b) => a - b));

const expected = oncePerKey<{
  readonly exact: ReturnType<typeof referenceAttention>;
  readonly naive: ReturnType<typeof naiveAttention>;
}>();

contract("attentionStream() is within the error budget of all its keys", async (engine) => {
  const cases = meanings.chain(({ problem, meaning }) =>
    fc.tuple(fc.constant(problem), fc.constant(meaning), cuts(problem.sizes.Nk))
  );
  await fc.assert(
    fc.asyncProperty(cases, async ([problem, meaning, cut]) => {
      const inputs = inputsOf(problem);
      const ours = await streamed(inputs.q, piecesOf(inputs, cut), { ...meaning, engine });
      const { exact, naive } = expected(fc.stringify([problem, meaning]), () => ({
        exact: referenceAttention(inputs.q, inputs.k, inputs.v, meaning),
        naive: naiveAttention(problem, meaning),
      }));
      for (const name of ["out", "lse"] as const) {
        const errors = measure(ours[name].data, naive[name], exact[name].data, rootMeanSquare);
        assertWithinBudget(name, errors);
      }
    }),
    runs(20),
  );
});

contract("attentionStream() gives the same bits however keys are cut", async (engine) => {
  const cases = meanings.chain(({ problem, meaning }) =>
    fc.tuple(fc.constant(problem), fc.constant(meaning), cuts(problem.sizes.Nk))
  );
  await fc.assert(
    fc.asyncProperty(cases, async ([problem, meaning, cut]) => {
      const inputs = inputsOf(problem), options = { ...meaning, engine };
      const whole = await streamed(inputs.q, piecesOf(inputs, []), options);
      const cutUp = await streamed(inputs.q, piecesOf(inputs, cut), options);
      for (const name of ["out", "lse"] as const) {
        assertSameBits(cutUp[name].data, whole[name].data, name);
      }
    }),
    runs(20),
  );
});

/** How pieces and results are laid out and stored. */
const presentations = fc.record({
  rank: fc.constantFrom(4, 4, 3),
  layout: fc.constantFrom<Layout>("bhnd", "bnhd"),
  q: arrangement(),
  k: fc.array(arrangement({ broadcast: false }), { minLength: 3, maxLength: 3 }),
  dtypes: fc.array(fc.constantFrom<DType>("f32", "f16", "bf16"), { minLength: 3, maxLength: 3 }),
  seed: fc.nat(),
});

contract("attentionStream() takes any rank, layout, strides and storage", async (engine) => {
  await fc.assert(
    fc.asyncProperty(presentations, async ({ rank, layout, q: ofQ, k: ofK, dtypes, seed }) => {
      const sizes = sizesOf({ B: rank === 4 ? 2 : 1, Hq: 4, Hkv: 2, Nq: 5, Nk: 60, D: 6, Dv: 3 });
      const drawn = randomProblem(sizes, seed), shapes = shapesOf(sizes);
      // What all storages hold.
      const both = (data: Float32Array) => rounded(rounded(data, "bf16"), "f16");
      const problem = { ...drawn, k: both(drawn.k), v: both(drawn.v) };
      const broadcast = ofQ === "dense" ? ofQ : { ...ofQ, broadcast: [false, false, false, false] };
      const q = present(problem.q, shapes.q, { rank, layout, arrangement: broadcast });
      const pieces = ofK.map((arrangement, at) => {
        const piece = (data: Float32Array, shape: Extents) => {
          const [B, H, , D] = shape, part = slice(data, shape, 2, at * 20, at * 20 + 20);
          const written = present(part, [B, H, 20, D], { rank, layout, arrangement });
          return stored(written, dtypes[at], seed % 2 === 0);
        };
        return [piece(problem.k, shapes.k), piece(problem.v, shapes.v)] as const;
      });
      const { out, lse } = await streamed(q, pieces, { layout, engine });
      const plain = inputsOf(problem);
      const exact = referenceAttention(plain.q, plain.k, plain.v);
      const naive = naiveAttention(problem, {});
      const ours = retrieve(out as Tensor, shapes.out, layout);
      assertWithinBudget("out", measure(ours, naive.out, exact.out.data, rootMeanSquare));
      assertWithinBudget("lse", measure(lse.data, naive.lse, exact.lse.data, rootMeanSquare));
      assertEquals(lse.shape, [2, 4, 5].slice(4 - rank));
    }),
    runs(30),
  );
});

contract("attentionStream() rounds once, to the storage of q", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 7, Nk: 3 * block, D: 4 }), 3));
  for (const dtype of ["f16", "bf16"] as const) {
    const q = stored(inputs.q, dtype), wide = { ...inputs.q, data: rounded(inputs.q.data, dtype) };
    const plain = await streamed(wide, piecesOf(inputs, [1000]), { engine });
    const { out, lse } = await streamed(q as Tensor, piecesOf(inputs, [1000]), { engine });
    assertEquals(out.dtype, dtype);
    assertSameBits(out.data, stored(plain.out, dtype).data as Uint16Array);
    assertSameBits(lse.data, plain.lse.data);
  }
});

contract("attentionStream() writes into `out` of any strides and storage", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 3, Nk: 9, D: 4, Dv: 2 }), 4));
  const plain = await streamed(inputs.q, piecesOf(inputs, [4]), { engine });
  const data = new Float32Array(40).fill(7);
  const out = { data, shape: [1, 2, 3, 2], strides: [40, 20, 5, 2], offset: 1 };
  const result = await streamed(inputs.q, piecesOf(inputs, [4]), { engine, out });
  assert(result.out === out as unknown);
  assertSameBits(retrieve(out, [1, 2, 3, 2], "bhnd"), plain.out.data);
  assertEquals(data.filter((x) => x === 7).length, 40 - 12);
  assertSameBits(result.lse.data, plain.lse.data);
});

for (const [first, keys] of [[0, 2 ** 20], [0.37, 2 ** 20], [2.5, 2 ** 17]]) {
  contract(`attentionStream() to ${keys} equal keys, one ${first}`, async (engine, { name }) => {
    // Minutes where a program stands in for the GPU.
    const count = name === "webgpu" ? 2 ** 15 : keys, value = Math.fround(0.1), rows = 6;
    const q = {
      data: new Float32Array(rows * 2).map((_, at) => at % 2 ? 0 : first),
      shape: [rows, 2],
    };
    const k = (one: number) => ({
      data: Float32Array.of(one, ...new Float32Array(2 * block - 1)),
      shape: [block, 2],
    });
    const zeros = k(0), v = { data: new Float32Array(2 * block).fill(value), shape: [block, 2] };
    const stream = attentionStream(q, { scale: 1, engine });
    stream.push(k(1), v);
    for (let at = block; at < count; at += block) stream.push(zeros, v);
    const { out, lse } = await stream.finish(),
      sum = Math.log(count - 1 + Math.exp(Math.fround(first)));
    for (const x of out.data) {
      assert(Math.abs(x / value - 1) <= 2e-6, `out is off by ${x / value - 1}`);
    }
    for (const x of lse.data) assert(Math.abs(x / sum - 1) <= 2e-6, `lse is off by ${x / sum - 1}`);
  }, { daily: 1 });
}

contract("attentionStream() keeps blocks of rising and falling levels apart", async (engine) => {
  // Of each block of equal scores only its level and its values count.
  const blocks = 24, q = { data: Float32Array.of(1), shape: [1, 1] };
  for (
    const level of [
      (at: number) => 0.01 * at,
      (at: number) => -0.01 * at,
      (at: number) => 3000 + Math.sin(at),
    ]
  ) {
    const levels = Array.from({ length: blocks }, (_, at) => Math.fround(level(at)));
    const values = levels.map((_, at) => Math.fround(Math.cos(at) + 2));
    const most = Math.max(...levels), weights = levels.map((one) => Math.exp(one - most));
    const sum = weights.reduce((a, b) => a + b),
      mean = weights.reduce((a, w, at) => a + w * values[at], 0) / sum;
    const stream = attentionStream(q, { scale: 1, engine });
    for (const [at, one] of levels.entries()) {
      const rows = (x: number) => ({ data: new Float32Array(block).fill(x), shape: [block, 1] });
      stream.push(rows(one), rows(values[at]));
    }
    const { out, lse } = await stream.finish();
    // A score is rounded where it is taken to powers of two.
    const score = 4 * 2 ** -24 * Math.abs(most);
    assert(Math.abs(out.data[0] / mean - 1) <= 1e-6 + score, `${out.data[0]}, expected ${mean}`);
    const whole = most + Math.log(block * sum);
    assert(Math.abs(lse.data[0] / whole - 1) <= 1e-6, `${lse.data[0]}, expected ${whole}`);
  }
}, { daily: 1 });

contract("attentionStream() weighs blocks by more of their level than f32 has", async (engine) => {
  const q = { data: Float32Array.of(1), shape: [1, 1] };
  for (const level of [30_000, -1_000_000]) {
    const stream = attentionStream(q, { scale: 1, engine });
    for (const [keys, value] of [[block, 1], [1000, 2]]) {
      const rows = (x: number) => ({ data: new Float32Array(keys).fill(x), shape: [keys, 1] });
      stream.push(rows(level), rows(value));
    }
    const { out } = await stream.finish(), mean = (block + 2000) / (block + 1000);
    assert(Math.abs(out.data[0] / mean - 1) <= 1e-6, `${out.data[0]}, expected ${mean}`);
  }
});

contract("attentionStream() without keys gives 0 and -Infinity, or the sink", async (engine) => {
  const q = randomProblem(sizesOf({ Hq: 2, Nq: 3, D: 4 }), 5).q,
    rows = { data: q, shape: [2, 3, 4] };
  const none = (D: number) => ({ data: new Float32Array(0), shape: [1, 0, D] });
  const nothing = await streamed(rows, [], { engine });
  assertEquals(nothing.out.shape, [2, 3, 4]);
  assertSameBits(nothing.out.data, new Float32Array(24));
  assertSameBits(nothing.lse.data, new Float32Array(6).fill(-Infinity));
  const empty = await streamed(rows, [[none(4), none(5)]], { engine, causal: "top-left" });
  assertEquals(empty.out.shape, [2, 3, 5]);
  assertSameBits(empty.out.data, new Float32Array(30));
  const sinks = Float32Array.of(2, -1e30);
  const sunk = await streamed(rows, [[none(4), none(4)]], { engine, sinks });
  assertSameBits(sunk.out.data, new Float32Array(24));
  assertSameBits(sunk.lse.data, [2, 2, 2, ...new Array(3).fill(Math.fround(-1e30))]);
  const out = { data: new Float32Array(12).fill(3), shape: [2, 3, 2] };
  assert((await streamed(rows, [], { engine, out })).out === out as unknown);
  assertSameBits(out.data, new Float32Array(12));
});

contract("attentionStream() of no rows has empty results", async (engine) => {
  for (const shape of [[0, 2, 3, 4], [1, 2, 0, 4]]) {
    const q = { data: new Float32Array(0), shape }, [B] = shape;
    const k = { data: new Float32Array(B * 2 * 5 * 4), shape: [B, 2, 5, 4] };
    const { out, lse } = await streamed(q, [[k, k], [k, k]], { engine, sinks: [1.5, 2] });
    assertEquals([out.shape, lse.shape], [shape, shape.slice(0, 3)]);
  }
});

/** Overwrites keys and values from one on, or before it. */
function poisoned(problem: Problem, isPoison: (key: number) => boolean, poison: number): Inputs {
  const { Nk, D, Dv } = problem.sizes;
  const over = (data: Float32Array, width: number) =>
    data.map((x, at) => isPoison(Math.floor(at / width) % Nk) ? poison : x);
  return inputsOf({ ...problem, k: over(problem.k, D), v: over(problem.v, Dv) });
}

contract("attentionStream() lets no poison out of keys that nobody sees", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: 3 * block, D: 3 }), 6);
  const windows: [StreamOptions, (key: number) => boolean][] = [
    [{ causal: "top-left" }, (key) => key >= 5],
    [{ causal: true, offset: block + 9 }, (key) => key >= block + 14],
    [
      { offset: 2 * block + 3, window: [20, 4] },
      (key) => key < 2 * block - 17 || key > 2 * block + 11,
    ],
  ];
  for (const [options, isPoison] of windows) {
    const clean = inputsOf(problem);
    const wanted = await streamed(clean.q, piecesOf(clean, [100]), { ...options, engine });
    for (const poison of [NaN, Infinity]) {
      const bad = poisoned(problem, isPoison, poison);
      const ours = await streamed(bad.q, piecesOf(bad, [100]), { ...options, engine });
      assertSameBits(ours.out.data, wanted.out.data);
      assertSameBits(ours.lse.data, wanted.lse.data);
    }
  }
});

contract("attentionStream() does not read keys that nobody sees", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: block, D: 3 }), 11);
  const { q, k, v } = inputsOf(problem),
    stream = attentionStream(q, { causal: "top-left", engine });
  await stream.push(k, v);
  const unseen = { ...k, data: k.data.slice() }, pushed = stream.push(unseen, unseen);
  structuredClone(unseen.data.buffer, { transfer: [unseen.data.buffer] }); // Reading it would throw.
  await pushed;
  const plain = await engine.attention(q, k, v, { causal: "top-left" });
  assertSameBits((await stream.finish()).out.data, plain.out.data);
});

contract("attentionStream() has NaN where attention() has it", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 5, Nk: block + 30, D: 3 }), 7);
  const options = { causal: true, offset: block + 10 } as const;
  for (const poison of [NaN, Infinity]) {
    for (const key of [7, block + 12]) {
      const { q, k, v } = poisoned(problem, (one) => one === key, poison);
      const ours = await streamed(q, piecesOf({ k, v }, []), { ...options, engine });
      const whole = await engine.attention(q, k, v, { ...options, lse: true });
      for (const name of ["out", "lse"] as const) {
        const isNaN = (x: number) => Number(Number.isNaN(x));
        assertSameBits(ours[name].data.map(isNaN), whole[name].data.map(isNaN), name);
      }
    }
  }
});

/** A small stream: queries, and a piece of keys that can be pushed any number of times. */
const small = inputsOf(randomProblem(sizesOf({ Hq: 2, Hkv: 1, Nq: 3, Nk: 700, D: 8 }), 8));

contract(
  "attentionStream() has memory that does not grow with the keys",
  async (engine, backend) => {
    const stream = attentionStream(small.q, { engine });
    for (let at = 0; at < 10; at++) await stream.push(small.k, small.v);
    const bytes = engine.memoryBytes;
    for (let at = 0; at < 60; at++) await stream.push(small.k, small.v);
    assertEquals(engine.memoryBytes, bytes);
    await stream.finish();
    await streamed(small.q, new Array(20).fill([small.k, small.v]), { engine });
    assertGivenBack(engine, bytes, backend);
  },
);

contract("attentionStream() does not mix streams that take turns", async (engine) => {
  const other = inputsOf(randomProblem(sizesOf({ Hq: 3, Nq: 2, Nk: 900, D: 5 }), 9));
  const alone = [
    await streamed(small.q, new Array(5).fill([small.k, small.v]), { engine }),
    await streamed(other.q, new Array(5).fill([other.k, other.v]), { engine }),
  ];
  const streams = [small, other].map(({ q }) => attentionStream(q, { engine }));
  for (let at = 0; at < 5; at++) {
    for (const [index, { k, v }] of [small, other].entries()) streams[index].push(k, v);
  }
  for (
    const [at, { out, lse }] of (await Promise.all(streams.map((one) => one.finish()))).entries()
  ) {
    assertSameBits(out.data, alone[at].out.data);
    assertSameBits(lse.data, alone[at].lse.data);
  }
});

contract(
  "attentionStream() stops where its signal aborts, and says why from then on",
  async (engine) => {
    const bytes = engine.memoryBytes,
      controller = new AbortController(),
      reason = new Error("enough");
    const stream = attentionStream(small.q, { engine, signal: controller.signal });
    await stream.push(small.k, small.v);
    controller.abort(reason);
    for (const act of [() => stream.push(small.k, small.v), () => stream.finish()]) {
      assert(await errorOf(act) === reason);
    }
    stream.close();
    const aborted = AbortSignal.abort(reason);
    assert(
      await errorOf(() => attentionStream(small.q, { engine, signal: aborted }).finish()) ===
        reason,
    );
    await streamed(small.q, [[small.k, small.v]], { engine });
    assert(engine.memoryBytes >= bytes);
  },
);

contract(
  "attentionStream() that was closed gives its memory back, and takes no more",
  async (engine, backend) => {
    await streamed(small.q, [[small.k, small.v]], { engine });
    const bytes = engine.memoryBytes, closed = "Cannot use a stream after `close()`";
    for (let at = 0; at < 20; at++) {
      const stream = attentionStream(small.q, { engine });
      await stream.push(small.k, small.v);
      if (at % 2 === 0) stream.close();
      else stream[Symbol.dispose]();
      stream.close();
      await assertRefused(() => stream.push(small.k, small.v), Error, closed);
      await assertRefused(() => stream.finish(), Error, closed);
    }
    const running = attentionStream(small.q, { engine });
    const pushed = Array.from({ length: 9 }, () => running.push(small.k, small.v));
    running.close();
    assertEquals((await Promise.allSettled(pushed)).at(-1)?.status, "rejected");
    await streamed(small.q, [[small.k, small.v]], { engine });
    assertGivenBack(engine, bytes, backend);
  },
);

contract("attentionStream() that was finished takes no more, and stays closed", async (engine) => {
  const stream = attentionStream(small.q, { engine });
  stream.push(small.k, small.v);
  const finished = stream.finish();
  const push = () => stream.push(small.k, small.v);
  await assertRefused(push, Error, "Cannot push to a stream after `finish()`");
  await assertRefused(() => stream.finish(), Error, "Cannot finish a stream after `finish()`");
  const { out } = await finished;
  stream.close();
  await assertRefused(push, Error, "Cannot push to a stream after `finish()`");
  const plain = await engine.attention(small.q, small.k, small.v);
  assertSameBits(out.data, plain.out.data);
});

contract("attentionStream() says that its engine was closed", async (engine) => {
  const closed = "Cannot use an engine after `close()`";
  const stream = attentionStream(small.q, { engine });
  await stream.push(small.k, small.v);
  const pushed = Array.from({ length: 9 }, () => stream.push(small.k, small.v));
  const waiting = attentionStream(small.q, { engine });
  await waiting.push(small.k, small.v); // Less than a block.
  const closing = engine.close();
  await assertRefused(() => waiting.push(small.k, small.v), Error, closed);
  const last = (await Promise.allSettled(pushed)).at(-1) as PromiseRejectedResult;
  assertEquals((last.reason as Error).message, closed);
  await closing;
  await assertRefused(() => stream.push(small.k, small.v), Error, closed);
  await assertRefused(() => stream.finish(), Error, closed);
  stream.close();
  await assertRefused(
    async () => await attentionStream(small.q, { engine }).finish(),
    Error,
    closed,
  );
});

/** What a stream cannot be asked. */
const refused: [what: string, options: object, kind: new () => Error, message: string][] = [
  ...["bias", "mask", "blockMask", "kvLengths", "cuSeqlens", "lse", "encoder", "onProgress"].map((
    name,
  ) =>
    [
      name,
      { [name]: [1] },
      TypeError,
      `Cannot attend: unknown option \`${name}\`, known are causal, ` +
      "offset, window, scale, layout, out, signal, softcap, alibi, sinks, precision, scoreMod, " +
      `maskMod, engine${name === "mask" ? "; did you mean `maskMod`?" : ""}`,
    ] as [string, object, new () => Error, string]
  ),
  ...[{ causal: true }, { causal: "bottom-right" }, { window: [3, 3] }, {
    alibi: Float32Array.of(1, 2),
  }].map((options) =>
    [
      Object.keys(options)[0],
      options,
      RangeError,
      "Cannot attend: `causal`, `window` and `alibi` in a stream need " +
      '`offset`, or `causal: "top-left"`',
    ] as [string, object, new () => Error, string]
  ),
  ["scale", { scale: NaN }, RangeError, "Cannot attend: `scale` must be finite in f32, got NaN"],
  [
    "sinks",
    { sinks: Float32Array.of(1) },
    RangeError,
    "Cannot attend: `sinks` must have shape [Hq] = [2], got [1]",
  ],
  [
    "offset",
    { offset: [1, 2] },
    RangeError,
    "Cannot attend: `offset` must have one number per batch, B = 1, got 2",
  ],
  ["out", { out: 5 }, TypeError, "Cannot attend: `out` must be { data, shape }, got 5"],
];

contract("attentionStream() refuses at once what it cannot be asked", async (engine) => {
  const bytes = engine.memoryBytes;
  for (const [, options, kind, message] of refused) {
    await assertRefused(() => attentionStream(small.q, { ...options, engine }), kind, message);
  }
  const q = { data: small.q.data, shape: [48] };
  await assertRefused(
    () => attentionStream(q, { engine }),
    RangeError,
    "Cannot attend: `q` must have rank 2 [N, D], 3 [H, N, D] or 4 [B, H, N, D], got [48]",
  );
  await assertRefused(
    () => attentionStream(small.q, null as never),
    TypeError,
    "Cannot attend: options must be an object, got null",
  );
  assertEquals(engine.memoryBytes, bytes);
});

contract("push() refuses keys that do not fit, and says so from then on", async (engine) => {
  const ones = (...shape: number[]) => ({
    data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
    shape,
  });
  const as = "as what was pushed before has";
  const wrong: [k: unknown, v: unknown, kind: new () => Error, message: string][] = [
    [
      ones(1, 1, 4, 7),
      ones(1, 1, 4, 8),
      RangeError,
      "Cannot attend: `k` must have D = 8 as `q` has, got 7",
    ],
    [
      ones(1, 1, 4, 8),
      ones(1, 1, 5, 8),
      RangeError,
      "Cannot attend: `v` must have Nk = 4 as `k` has, got 5",
    ],
    [
      ones(1, 2, 4, 8),
      ones(1, 2, 4, 8),
      RangeError,
      `Cannot attend: \`k\` must have Hkv = 1 ${as}, got 2`,
    ],
    [
      ones(1, 1, 4, 8),
      ones(1, 1, 4, 9),
      RangeError,
      `Cannot attend: \`v\` must have Dv = 8 ${as}, got 9`,
    ],
    [null, ones(1, 1, 4, 8), TypeError, "Cannot attend: `k` must be { data, shape }, got null"],
  ];
  for (const [k, v, kind, message] of wrong) {
    const stream = attentionStream(small.q, { engine });
    await stream.push(small.k, small.v);
    await assertRefused(() => stream.push(k as never, v as never), kind, message);
    await assertRefused(() => stream.push(small.k, small.v), kind, message);
    await assertRefused(() => stream.finish(), kind, message);
  }
  const out = ones(1, 2, 3, 5), stream = attentionStream(small.q, { engine, out });
  const message = "Cannot attend: `out` must have shape [1,2,3,8], got [1,2,3,5]";
  await assertRefused(() => stream.push(small.k, small.v), RangeError, message);
});

contract("attentionStream() leaves nothing where memory is short", async (engine) => {
  const q = { data: new Float32Array(8 * 64).fill(1), shape: [8, 1, 64] };
  const kv = { data: new Float32Array(8 * 100 * 64).fill(2), shape: [8, 100, 64] };
  const few = { data: kv.data, shape: [1, 100, 64] }, ofFew = { data: q.data, shape: [1, 8, 64] };
  for (let time = 0; time < 4; time++) {
    const stream = attentionStream(q, { engine }); // A block of keys alone is 4 MiB.
    const error = await errorOf(() => stream.push(kv, kv));
    assert(error instanceof RangeError, String(error));
    assert(await errorOf(() => stream.finish()) === error);
  }
  const { out } = await streamed(ofFew, [[few, few]], { engine });
  assertSameBits(out.data, new Float32Array(8 * 64).fill(2));
}, { needs: "maxMemoryBytes", maxMemoryBytes: 5 * 2 ** 20 });

contract("attentionStream() reads its lists at once", async (engine) => {
  const inputs = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 3, Nk: 40, D: 4 }), 10));
  const lists = () => ({
    ...{ offset: [20] as NumberList, window: [9, 3], causal: true },
    ...{ alibi: Float32Array.of(0.5, 0.1), sinks: Float32Array.of(1, 2) },
  });
  const wanted = await streamed(inputs.q, piecesOf(inputs, []), { ...lists(), engine });
  const given = { ...lists(), engine }, stream = attentionStream(inputs.q, given);
  for (const list of [given.offset, given.window, given.alibi, given.sinks]) {
    (list as number[]).fill(3);
  }
  const k = { ...inputs.k, shape: [...inputs.k.shape] };
  stream.push(k, inputs.v);
  k.shape.fill(1);
  assertSameBits((await stream.finish()).out.data, wanted.out.data);
});
