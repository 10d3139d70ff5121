import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { DType, Engine, HostData, HostTensor, Layout, Tensor } from "@flashtile/attention";
import { arrangement, type Call, calls, presentInputs, runs } from "../support/arbitrary.ts";
import { broadcastElements, present, retrieve } from "../support/arrangement.ts";
import { assertSameBits } from "../support/bits.ts";
import {
  assertGradientsWithinBudget,
  assertSameGradients,
  type Cotangents,
  cotangentTensors,
  eachGradient,
  exactGradients,
  gradientCall,
  type Gradients,
  gradientsOf,
  randomCotangents,
} from "../support/gradients.ts";
import { naiveAttentionBackward } from "../support/naive_backward.ts";
import { once } from "../support/once.ts";
import {
  type Extents,
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  shapesOf,
  sizesOf,
} from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { residentOf } from "../support/resident.ts";
import { numbersIn, rounded, storages, stored } from "../support/storage.ts";
import { assertGivenBack, contract } from "../contract/backends.ts";

const needs = "backward";

const dtypes: readonly DType[] = ["f32", "f16", "bf16"];

/** Element types of the inputs of a call. */
interface Dtypes {
  readonly q: DType;
  readonly k: DType;
  readonly v: DType;
}

/** A problem whose numbers are those that the element types have. */
function roundedProblem({ sizes, q, k, v }: Problem, dtypes: Dtypes): Problem {
  return {
    sizes,
    ...{ q: rounded(q, dtypes.q), k: rounded(k, dtypes.k), v: rounded(v, dtypes.v) },
  };
}

/** Gradients as numbers, whatever they are stored in. */
function numbersOf(gradients: Gradients<HostTensor>): Gradients<Float32Array> {
  return eachGradient(gradients, ({ data, dtype }) => numbersIn(data, dtype));
}

const cases: { sizes: Parameters<typeof sizesOf>[0]; meaning: Meaning }[] = [
  { sizes: { Hq: 4, Nq: 60, Nk: 80, D: 64 }, meaning: {} },
  { sizes: { B: 2, Hq: 6, Hkv: 2, Nq: 37, Nk: 51, D: 29, Dv: 17 }, meaning: { causal: true } },
  {
    sizes: { Hq: 4, Hkv: 2, Nq: 70, Nk: 66, D: 16 },
    meaning: {
      bias: { data: normals(70 * 66, seeded(1)), shape: [70, 66] },
      sinks: { data: normals(4, seeded(2)), shape: [4] },
      softcap: 4,
    },
  },
];

for (const storage of storages) {
  for (const [at, { sizes, meaning }] of cases.entries()) {
    const prepare = once(() => {
      const all = { q: storage, k: storage, v: storage };
      const call = gradientCall(roundedProblem(randomProblem(sizesOf(sizes), 1), all), meaning);
      const { problem } = call, dOut = rounded(call.cotangents.dOut, storage);
      const cotangents = { ...call.cotangents, dOut };
      const naive = naiveAttentionBackward(problem, meaning, cotangents, storage);
      const asStored = (x: Float32Array) => rounded(x, storage);
      return {
        ...{ problem, cotangents, exact: exactGradients({ problem, meaning, cotangents }) },
        naive: {
          ...naive,
          ...{ dq: asStored(naive.dq), dk: asStored(naive.dk), dv: asStored(naive.dv) },
        },
      };
    });

    contract(
      `attentionBackward() stays within the error budget for ${storage}, case ${at}`,
      async (engine) => {
        const { problem, cotangents, ...expected } = prepare(), inputs = inputsOf(problem);
        const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((one) => stored(one, storage));
        const given = cotangentTensors(problem, cotangents), dOut = stored(given.dOut, storage);
        const { out, lse } = await engine.attention(q, k, v, { ...meaning, lse: true });
        const options = { ...meaning, out, lse, dLse: given.dLse };
        const gradients: Gradients<HostTensor> = await engine.attentionBackward(
          ...[dOut, q, k, v, options] as const,
        );
        const kinds = { dq: storage, dk: storage, dv: storage };
        assertGradientsWithinBudget(numbersOf(gradients), expected, "", kinds);
      },
      { daily: 1 / 3, needs },
    );
  }
}

contract(
  "attentionBackward() takes 16-bit tensors as the numbers they stand for",
  async (engine) => {
    const problem = randomProblem(
      sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 19, Nk: 30, D: 12, Dv: 7 }),
      2,
    );
    const meaning = { causal: true, bias: { data: normals(30, seeded(1)), shape: [30] } } as const;
    const cotangents = randomCotangents(problem, 3), given = inputsOf(problem);
    // Nine of them: any two of the four tensors have every pair of storages.
    for (const [row, q] of dtypes.entries()) {
      for (const [column, k] of dtypes.entries()) {
        const v = dtypes[(row + column) % 3], dtype = dtypes[(row + 2 * column) % 3];
        const kinds = { q, k, v };
        const numbers = roundedProblem(problem, kinds), plain = inputsOf(numbers);
        const { out, lse } = await engine.attention(plain.q, plain.k, plain.v, {
          ...{ ...meaning, lse: true },
        });
        const { dOut, dLse } = cotangentTensors(problem, cotangents);
        const gradients: Gradients<HostTensor> = await engine.attentionBackward(
          ...[stored(dOut, dtype), stored(given.q, q), stored(given.k, k, true)] as const,
          stored(given.v, v),
          { ...meaning, out, lse, dLse },
        );
        const roundedOut = { ...cotangents, dOut: rounded(cotangents.dOut, dtype) };
        const expected = await gradientsOf(engine, {
          ...{ problem: numbers, meaning, cotangents: roundedOut },
        });
        const { dq, dk, dv } = expected;
        assertSameGradients(
          numbersOf(gradients),
          { ...expected, dq: rounded(dq, q), dk: rounded(dk, k), dv: rounded(dv, v) },
          `of ${q}, ${k}, ${v}, dOut ${dtype}`,
        );
      }
    }
  },
  { needs },
);

contract("attentionBackward() stores gradients as what they are by", async (engine) => {
  const sizes = sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 5, Nk: 6, D: 4, Dv: 3 });
  const inputs = inputsOf(randomProblem(sizes, 4));
  const bias = { data: normals(4 * 6, seeded(1)), shape: [4, 1, 6] };
  const sinks = { data: normals(4, seeded(2)), shape: [4] };
  const kinds: [DType, boolean, new (length: number) => HostData][] = [
    ["f32", false, Float32Array],
    ["f16", false, Uint16Array],
    ["bf16", false, Uint16Array],
  ];
  if (typeof Float16Array !== "undefined") kinds.push(["f16", true, Float16Array]);
  for (let at = 0; at < kinds.length; at++) {
    const chosen = [0, 1, 2].map((next) => kinds[(at + next) % kinds.length]);
    const [q, k, v] = [inputs.q, inputs.k, inputs.v].map((tensor, index) =>
      stored(tensor, ...chosen[index].slice(0, 2) as [DType, boolean])
    );
    const { out, lse } = await engine.attention(q, k, v, { bias, sinks, lse: true });
    const dOut = { data: normals(2 * 4 * 5 * 3, seeded(3)), shape: [2, 4, 5, 3] };
    const options = { bias, sinks, out, lse };
    const { dq, dk, dv, dBias, dSinks } = await engine.attentionBackward(dOut, q, k, v, options);
    for (const [index, [gradient, by]] of [[dq, q], [dk, k], [dv, v]].entries()) {
      const [dtype, , kind] = chosen[index];
      assert(gradient.data.constructor === kind, `${gradient.data.constructor.name} for ${dtype}`);
      assertEquals([gradient.dtype, gradient.shape], [dtype, by.shape]);
      assertEquals([gradient.strides, gradient.offset], [undefined, undefined]);
    }
    for (const [gradient, by] of [[dBias!, bias], [dSinks!, sinks]] as const) {
      assert(gradient.data instanceof Float32Array);
      assertEquals([gradient.dtype, gradient.shape], ["f32", by.shape]);
    }
  }
}, { needs });

/** A call, and how a caller writes what the backward pass takes beside it. */
const backwardCalls = fc.record({
  call: calls,
  dOut: arrangement(),
  seed: fc.nat(),
  /** Elements from one row to the next of `lse` and `dLse`, and before the first. */
  rows: fc.record({ step: fc.integer({ min: 1, max: 3 }), offset: fc.nat({ max: 5 }) }),
});

type BackwardCall = typeof backwardCalls extends fc.Arbitrary<infer T> ? T : never;

/** The gradients of a call on dense tensors of rank 4: what all others must equal. */
function plainly(engine: Engine, { problem, meaning }: Call, cotangents: Cotangents) {
  return gradientsOf(engine, { problem, meaning, cotangents });
}

/** One number per row, `[B, Hq, Nq]`, in another arrangement: NaN between them. */
function spread(
  rows: ArrayLike<number>,
  [B, H, N]: Extents,
  rank: number,
  { step, offset }: BackwardCall["rows"],
): Tensor {
  const data = new Float32Array(offset + rows.length * step).fill(NaN);
  Array.from(rows).forEach((x, at) => data[offset + at * step] = x);
  const missing = 4 - rank;
  return {
    ...{ data, offset, shape: [B, H, N].slice(missing) },
    strides: [H * N * step, N * step, step].slice(missing),
  };
}

/** A call as a caller writes it; `place` says where each tensor is. */
async function asWritten(
  engine: Engine,
  { call, dOut: dOutArrangement, rows }: BackwardCall,
  { dOut, dLse }: Cotangents,
  place: (tensor: Tensor, at: number) => Tensor = (tensor) => tensor,
) {
  const { problem, meaning, rank, layout, arrangements } = call, shapes = shapesOf(problem.sizes);
  const inputs = presentInputs(call), dense = inputsOf(problem);
  const result = await engine.attention(dense.q, dense.k, dense.v, { ...meaning, lse: true });
  const write = (elements: Float32Array, arrangement: typeof arrangements.out) =>
    present(elements, shapes.out, { rank, layout, arrangement });
  const written = [
    ...[inputs.q, inputs.k, inputs.v, write(dOut, dOutArrangement)],
    write(result.out.data, arrangements.out),
    ...[result.lse.data, dLse!].map((x) => spread(x, shapes.out, rank, rows)),
  ];
  const [q, k, v, dOutTensor, out, lse, dLseTensor] = written.map(place);
  const options = { ...meaning, layout, out, lse, dLse: dLseTensor };
  return await engine.attentionBackward(dOutTensor, q, k, v, options);
}

/** Gradients as written, dense `[B, H, N, D]`. */
function denseOf(
  { problem: { sizes }, layout }: { problem: Problem; layout: Layout },
  { dq, dk, dv }: Gradients<Tensor>,
): Gradients<Float32Array> {
  const shapes = shapesOf(sizes);
  return {
    dq: retrieve(dq, shapes.q, layout),
    dk: retrieve(dk, shapes.k, layout),
    dv: retrieve(dv, shapes.v, layout),
  };
}

/** Cotangents that `dOut`'s arrangement can write: equal along the axes that it repeats. */
function cotangentsOf({ call, dOut: arrangement, seed }: BackwardCall): Cotangents {
  const { dOut, dLse } = randomCotangents(call.problem, seed);
  if (arrangement === "dense") return { dOut, dLse };
  const shape = shapesOf(call.problem.sizes).out;
  return { dOut: broadcastElements(dOut, shape, arrangement), dLse };
}

contract("attentionBackward() gives the same bits in any rank, layout, strides", async (engine) => {
  await fc.assert(
    fc.asyncProperty(backwardCalls, async (given) => {
      const cotangents = cotangentsOf(given);
      const gradients = denseOf(given.call, await asWritten(engine, given, cotangents));
      assertSameGradients(gradients, await plainly(engine, given.call, cotangents));
    }),
    runs(80),
  );
}, { needs });

contract("attentionBackward() gives the shapes of what gradients are by", async (engine) => {
  await fc.assert(
    fc.asyncProperty(backwardCalls, async (given) => {
      const { q, k, v } = presentInputs(given.call);
      const { dq, dk, dv } = await asWritten(engine, given, cotangentsOf(given));
      assertEquals([dq.shape, dk.shape, dv.shape], [q.shape, k.shape, v.shape]);
    }),
    runs(20),
  );
}, { needs });

contract(
  "attentionBackward() gives the same bits for tensors in its own memory",
  async (engine) => {
    await fc.assert(
      fc.asyncProperty(backwardCalls, fc.integer({ min: 1, max: 127 }), async (given, which) => {
        const held: { free(): void }[] = [];
        const place = (tensor: Tensor, at: number) => {
          if ((which >> at & 1) === 0) return tensor;
          const there = residentOf(engine, tensor) as Tensor & { free(): void };
          held.push(there);
          return there;
        };
        const cotangents = cotangentsOf(given);
        const gradients = denseOf(given.call, await asWritten(engine, given, cotangents, place));
        assertSameGradients(gradients, await plainly(engine, given.call, cotangents));
        held.forEach((tensor) => tensor.free());
      }),
      runs(80),
    );
  },
  { needs: [needs, "hostTensors"] },
);

contract("attentionBackward() gives its memory back, also of tensors there", async (engine, at) => {
  const problem = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq: 90, Nk: 70, D: 24 }), 1);
  const bias = { data: normals(90 * 70, seeded(1)), shape: [90, 70] };
  const call = gradientCall(problem, { bias });
  const expected = await gradientsOf(engine, call);
  let bytes = 0;
  const { q, k, v } = inputsOf(problem),
    { dOut, dLse } = cotangentTensors(problem, call.cotangents);
  const { out, lse } = await engine.attention(q, k, v, { bias, lse: true });
  for (let time = 0; time < 5; time++) {
    const held = [q, k, v, bias, dOut, out].map((tensor) => residentOf(engine, tensor) as Tensor);
    const [hq, hk, hv, hBias, hdOut, hOut] = held;
    const options = { bias: hBias, out: hOut, lse, dLse };
    const gradients: Gradients<Tensor> = await engine.attentionBackward(hdOut, hq, hk, hv, options);
    assertSameGradients(eachGradient(gradients, ({ data }) => data), expected);
    held.forEach((tensor) => (tensor as Tensor & { free(): void }).free());
    assertSameGradients(await gradientsOf(engine, call), expected);
    // The first such call may need more than there was: tensors lie beside what it keeps.
    if (time === 0) bytes = engine.memoryBytes;
    assertGivenBack(engine, bytes, at);
  }
}, { needs: [needs, "hostTensors"] });

contract("attentionBackward() is right for one tensor in several places", async (engine) => {
  const problem = randomProblem(sizesOf({ Hq: 2, Nq: 33, D: 8 }), 5), { q } = inputsOf(problem);
  const { out, lse } = await engine.attention(q, q, q, { causal: true, lse: true });
  const options = { causal: true, out, lse };
  const gradients: Gradients<Tensor> = await engine.attentionBackward(out, q, q, q, options);
  const apart = { ...problem, k: problem.q.slice(), v: problem.q.slice() };
  const expected = await gradientsOf(engine, {
    ...{ problem: apart, meaning: { causal: true }, cotangents: { dOut: out.data } },
  });
  assertSameGradients(eachGradient(gradients, ({ data }) => data), expected);
  assertSameBits(q.data, problem.q);
}, { needs });
