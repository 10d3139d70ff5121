import { blockMask, type Tensor } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert, assertEquals } from "@std/assert";
import { planAttention } from "../../src/operations/attention/plan.ts";
import { viewOf } from "../../src/tensor/tensor.ts";
import { forward } from "../../src/webgpu/attention/forward.ts";
import { usages } from "../../src/webgpu/device/buffers.ts";
import { type Bounds, Session } from "../../src/webgpu/device/session.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure } from "../support/budget.ts";
import { gpuTest, sharedGpu, withGpu } from "../support/device.ts";
import { assertRefused } from "../support/errors.ts";
import { naiveAttention, type Results } from "../support/naive.ts";
import {
  count,
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  type Sizes,
  sizesOf,
} from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";

interface Bounded {
  readonly bounds?: Partial<Bounds>;
  /** Multiply-adds of a submit. */
  readonly work?: number;
}

/** Runs a call in a session of its own; gives its results, and how often it told its progress. */
async function run(
  problem: Problem,
  meaning: Meaning,
  { bounds, work = 1e12 }: Bounded = {},
): Promise<Results<Float32Array> & { steps: number }> {
  const { B, Hq, Nq, Dv } = problem.sizes, { q, k, v } = inputsOf(problem);
  const session = new Session(await sharedGpu(), bounds);
  session.work = work;
  const out = new Float32Array(B * Hq * Nq * Dv), lse = new Float32Array(B * Hq * Nq);
  const target = {
    out: viewOf({ data: out, shape: [B, Hq, Nq, Dv] }, "bhnd"),
    lse: viewOf({ data: lse, shape: [B, Hq, Nq, 1] }, "bhnd"),
  };
  let steps = 0;
  try {
    const control = { onProgress: () => steps++ };
    await forward(session, planAttention(q, k, v, meaning), target, control, () => {});
  } finally {
    session.close();
  }
  return { out, lse, steps };
}

function assertRight(problem: Problem, meaning: Meaning, { out, lse }: Results<Float32Array>) {
  const { q, k, v } = inputsOf(problem);
  const exact = referenceAttention(q, k, v, meaning), naive = naiveAttention(problem, meaning);
  assertWithinBudget("out", measure(out, naive.out, exact.out.data));
  assertWithinBudget("lse", measure(lse, naive.lse, exact.lse.data));
}

function assertSame(actual: Results<Float32Array>, expected: Results<Float32Array>) {
  assertSameBits(actual.out, expected.out);
  assertSameBits(actual.lse, expected.lse);
}

/** Bits for scores, of which about two in three are set. */
function bitMask(shape: readonly number[], seed: number) {
  const random = seeded(seed), length = Math.ceil(count(shape) / 32);
  const data = Uint32Array.from({ length }, () => (random() * 2 ** 32) | (random() * 2 ** 32));
  return { data, shape };
}

/** Every term at once. */
function everyTerm({ B, Hq, Nq, Nk }: Sizes): Meaning {
  return {
    softcap: 5,
    bias: { data: normals(Hq * Nq * Nk, seeded(1)), shape: [Hq, Nq, Nk] },
    mask: bitMask([B, 1, Nq, Nk], 2),
    alibi: { data: Float32Array.from({ length: Hq }, (_, h) => 2 ** -h / 8), shape: [Hq] },
    sinks: { data: normals(Hq, seeded(3)), shape: [Hq] },
    blockMask: blockMask.window([90, 40], { queries: Nq, keys: Nk, block: [24, 20] }),
  };
}

const bounds: [name: string, bounds: Partial<Bounds>][] = [
  ["bindings of 16 KiB over whole arrays", { bindingBytes: 16_384 }],
  ["bindings of 16 KiB, arrays in parts", { bindingBytes: 16_384, wholeBytes: 20_000 }],
  ["bindings of 16 KiB, nothing kept", { bindingBytes: 16_384, wholeBytes: 100 }],
];

for (const [name, given] of bounds) {
  gpuTest(`attention() takes every term with ${name}`, async () => {
    for (
      const sizes of [
        sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 70, Nk: 300, D: 20 }),
        sizesOf({ B: 2, Hq: 2, Hkv: 1, Nq: 2, Nk: 900, D: 64, Dv: 32 }),
      ]
    ) {
      const problem = randomProblem(sizes, 1), meaning = everyTerm(sizes);
      const { steps, ...results } = await run(problem, meaning, { bounds: given, work: 1e6 });
      assert(steps > 2, `${steps} steps`);
      assertRight(problem, meaning, results);
    }
  });
}

gpuTest("a row has the same bits however its call with terms is cut", async () => {
  const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 150, Nk: 700, D: 16 });
  const problem = randomProblem(sizes, 4);
  for (const meaning of [{ ...everyTerm(sizes), causal: true }, { mask: bitMask([150, 700], 5) }]) {
    assertSame(await run(problem, meaning, { work: 2e5 }), await run(problem, meaning));
  }
});

/** Boundaries of sequences one after the other. */
function boundaries(lengths: readonly number[]): number[] {
  return lengths.reduce((ends, length) => [...ends, ends.at(-1)! + length], [0]);
}

/** A problem of packed sequences, by their numbers of queries and of keys. */
function packedProblem(queries: readonly number[], keys: readonly number[], D: number) {
  const cuSeqlens = { q: boundaries(queries), k: boundaries(keys) };
  const [Nq, Nk] = [cuSeqlens.q.at(-1)!, cuSeqlens.k.at(-1)!];
  return { problem: randomProblem(sizesOf({ Hq: 2, Hkv: 1, Nq, Nk, D }), 6), cuSeqlens };
}

/** Rows of one sequence, by themselves. */
function rowsOf(data: Float32Array, heads: number, from: number, to: number): Float32Array {
  const perHead = data.length / heads, rows = [];
  for (let h = 0; h < heads; h++) {
    rows.push(...data.subarray(h * perHead + from, h * perHead + to));
  }
  return Float32Array.from(rows);
}

/** The sequence alone, as a problem without others. */
function aloneOf(
  { sizes, q, k, v }: Problem,
  { q: ofQ, k: ofK }: { q: number[]; k: number[] },
  at: number,
): Problem {
  const { Hq, Hkv, D, Dv } = sizes;
  const [i, I, j, J] = [ofQ[at], ofQ[at + 1], ofK[at], ofK[at + 1]];
  return {
    sizes: { ...sizes, Nq: I - i, Nk: J - j },
    q: rowsOf(q, Hq, i * D, I * D),
    k: rowsOf(k, Hkv, j * D, J * D),
    v: rowsOf(v, Hkv, j * Dv, J * Dv),
  };
}

gpuTest(
  "a packed sequence has the same bits, whatever is beside it and however it is cut",
  async () => {
    // Few rows against many keys, so that theirs are in parts; none; many rows; no keys.
    const { problem, cuSeqlens } = packedProblem([9, 0, 100, 2, 33], [1300, 7, 90, 0, 600], 16);
    for (const meaning of [{ causal: true }, { softcap: 4, window: [900, 3] }] as Meaning[]) {
      const together = await run(problem, { ...meaning, cuSeqlens });
      assertRight(problem, { ...meaning, cuSeqlens }, together);
      assertSame(await run(problem, { ...meaning, cuSeqlens }, { work: 1e5 }), together);
      for (const at of [0, 2, 3, 4]) {
        const one = aloneOf(problem, cuSeqlens, at), { Nq, Nk } = one.sizes;
        const alone = await run(one, { ...meaning, cuSeqlens: { q: [0, Nq], k: [0, Nk] } });
        const [from, to] = [cuSeqlens.q[at], cuSeqlens.q[at + 1]];
        assertSameBits(rowsOf(together.out, 2, from * 16, to * 16), alone.out);
        assertSameBits(rowsOf(together.lse, 2, from, to), alone.lse);
        // And as it is without packing, in the same tiles.
        if (Nq * 2 > 16) assertSame(await run(one, meaning), alone);
      }
    }
  },
);

gpuTest(
  "attention() runs packed sequences in one submit, and those that a binding cannot hold",
  async () => {
    const { problem, cuSeqlens } = packedProblem([40, 3, 0, 25], [50, 700, 10, 30], 16);
    assertEquals((await run(problem, { cuSeqlens })).steps, 1);
    const meaning = { cuSeqlens, mask: bitMask([68, 790], 8) };
    const bounded = await run(problem, meaning, {
      bounds: { bindingBytes: 8192, wholeBytes: 100 },
    });
    assert(bounded.steps > 4, `${bounded.steps} steps`);
    assertRight(problem, meaning, bounded);
  },
);

gpuTest(
  "attention() runs batches of few rows in one submit, however many keys each has",
  async () => {
    const problem = randomProblem(sizesOf({ B: 5, Hq: 4, Hkv: 2, Nq: 1, Nk: 1500, D: 32 }), 7);
    const kvLengths = [1, 700, 0, 1500, 513];
    const meaning = { kvLengths, offset: kvLengths.map((keys) => keys - 1), causal: true };
    const together = await run(problem, meaning);
    assertEquals(together.steps, 1);
    assertRight(problem, meaning, together);
  },
);

gpuTest(
  "attention() lets no trace of a key through that mask and blocks hide in whole tiles",
  async () => {
    const sizes = sizesOf({ Hq: 2, Nq: 100, Nk: 200, D: 16 }), { Nq, Nk } = sizes;
    const problem = randomProblem(sizes, 9);
    const data = Uint8Array.from({ length: Nq * Nk }, (_, at) => Number(at % Nk < 70));
    const bias = {
      data: Float32Array.from(data, (kept) => kept ? 0.5 : -Infinity),
      shape: [Nq, Nk],
    };
    const hidden = { ...problem, k: problem.k.slice(), v: problem.v.slice() };
    for (let h = 0; h < 2; h++) {
      const [from, to] = [(h * Nk + 70) * 16, (h + 1) * Nk * 16];
      hidden.k.fill(NaN, from, to);
      hidden.v.fill(Infinity, from, to);
    }
    const blocks = blockMask.fromDense({ data, shape: [Nq, Nk] }, { block: 32 });
    for (const meaning of [{ mask: { data, shape: [Nq, Nk] } }, { bias }, { blockMask: blocks }]) {
      const clean = await run(problem, meaning);
      assertRight(problem, meaning, clean);
      assertSame(await run(hidden, meaning), clean);
    }
  },
);

/** Copies an array into a buffer, `at` bytes from its beginning. */
function upload(device: GPUDevice, data: ArrayBufferView, at = 0): GPUBuffer {
  const size = Math.ceil((at + data.byteLength) / 16) * 16;
  const usage = usages.storage | usages.copySource;
  const buffer = device.createBuffer({ size, usage, mappedAtCreation: true });
  const bytes = new Uint8Array(buffer.getMappedRange());
  bytes.fill(255).set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
  buffer.unmap();
  return buffer;
}

function uploaded(device: GPUDevice, { data, shape }: Tensor) {
  return { data: upload(device, data), shape, dtype: "f32" } as const;
}

async function read(device: GPUDevice, data: GPUBuffer): Promise<Float32Array> {
  const copy = device.createBuffer({ size: data.size, usage: usages.mapRead | usages.copyTarget });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(data, 0, copy, 0, data.size);
  device.queue.submit([encoder.finish()]);
  await copy.mapAsync(usages.mapRead);
  const numbers = new Float32Array(copy.getMappedRange().slice(0));
  copy.destroy();
  return numbers;
}

const small = sizesOf({ Hq: 4, Hkv: 2, Nq: 37, Nk: 61, D: 8 });

gpuTest(
  "attention() reads bias and mask from anywhere in buffers",
  () =>
    withGpu(async (engine, device) => {
      const problem = randomProblem(small, 10), { q, k, v } = inputsOf(problem);
      const bias = normals(37 * 61, seeded(1)), { data: words } = bitMask([37, 61], 2);
      const kept = (at: number) => words[at >> 5] >>> (at & 31) & 1;
      const bytes = Uint8Array.from({ length: 37 * 61 }, (_, at) => kept(at) * 7);
      const shape = [37, 61];
      const given = { bias: { data: bias, shape }, mask: { data: words, shape } };
      const wanted = await run(problem, given);
      assertRight(problem, given, wanted);
      for (const at of [0, 1, 75, 1000]) {
        const shifted = new Uint32Array(words.length + 40);
        for (let e = 0; e < 37 * 61; e++) shifted[(at + e) >> 5] |= kept(e) << ((at + e) & 31);
        for (
          const mask of [
            { data: upload(device, shifted), shape, dtype: "bit", offset: at },
            { data: upload(device, bytes, at), shape, dtype: "u8", offset: at },
          ] as const
        ) {
          const there = {
            data: upload(device, bias, 4 * at),
            shape,
            dtype: "f32",
            offset: at,
          } as const;
          const { out } = await engine.attention(q, k, v, { bias: there, mask });
          assertSameBits(out.data as unknown as Float32Array, wanted.out);
        }
      }
    }),
);

gpuTest(
  "attention() records terms into the caller's encoder",
  () =>
    withGpu(async (engine, device) => {
      const problem = randomProblem(small, 11), given = everyTerm(small);
      const wanted = await run(problem, given);
      const [q, k, v] = Object.values(inputsOf(problem)).map((one) => uploaded(device, one));
      const mask = {
        ...given.mask!,
        data: upload(device, given.mask!.data as Uint32Array),
        dtype: "bit",
      } as const;
      const meaning = { ...given, bias: uploaded(device, given.bias as Tensor), mask };
      const encoder = device.createCommandEncoder();
      const first = await engine.attention(q, k, v, { ...meaning, encoder });
      // Another call, before the first is submitted, has tables of its own.
      const other = await engine.attention(q, k, v, { ...meaning, softcap: 1, sinks: undefined });
      device.queue.submit([encoder.finish()]);
      assertSameBits(
        (await read(device, first.out.data)).subarray(0, wanted.out.length),
        wanted.out,
      );
      other.out.data.destroy();
    }),
);

gpuTest(
  "attention() refuses a bias or mask that it cannot use",
  () =>
    withGpu(async (engine, device) => {
      const { q, k, v } = inputsOf(randomProblem(small, 12));
      const [a, b, c] = [q, k, v].map((one) => uploaded(device, one));
      const bias = { data: new Float32Array(61), shape: [61] };
      await assertRefused(
        () => engine.attention(a, b, c, { bias, encoder: device.createCommandEncoder() }),
        TypeError,
        "Cannot attend: `bias` must be a GPUBuffer where `encoder` is given",
      );
      const out = uploaded(device, q);
      await assertRefused(
        () => engine.attention(a, b, c, { out, bias: { ...out, shape: [61] } }),
        RangeError,
        "Cannot attend: `out` must be another GPUBuffer than the inputs, " +
          "a GPU cannot read and write one in one pass",
      );
    }),
);

gpuTest("two hundred calls with terms leave no buffer behind", () =>
  withGpu(async (engine) => {
    const sizes = sizesOf({ Hq: 2, Nq: 40, Nk: 20, D: 8 }), options = everyTerm(sizes);
    const { q, k, v } = inputsOf(randomProblem(sizes, 5));
    await engine.attention(q, k, v, options);
    const bytes = engine.memoryBytes;
    for (let call = 1; call < 200; call++) await engine.attention(q, k, v, options);
    assertEquals(engine.memoryBytes, bytes);
  }));
