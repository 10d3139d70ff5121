import { assert, assertEquals } from "@std/assert";
import { blockMask, type Engine, type Tensor, tensor } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { contract } from "../contract/backends.ts";
import {
  assertSameGradients,
  type Cotangents,
  eachGradient,
  type GradientCall,
  gradientCall,
  gradientExpectation,
  type Gradients,
  gradientsOf,
  keptGradientsOf,
} from "../support/gradients.ts";
import { once } from "../support/once.ts";
import {
  inputsOf,
  type Meaning,
  type Problem,
  randomProblem,
  sizesOf,
} from "../support/problem.ts";

const levels = [333, 1.2e4, 1e5, 1e6];

/** Calls whose scores are all on one level. */
const levelled: readonly (readonly [
  name: string,
  sizes: Parameters<typeof sizesOf>[0],
  meaning: Meaning,
])[] = [
  ["grouped heads", { B: 2, Hq: 4, Hkv: 2, Nq: 33, Nk: 70, D: 16 }, {}],
  ["keys in parts", { Hq: 2, Hkv: 1, Nq: 3, Nk: 4300, D: 8 }, {}],
  ["rows that see nothing", { Hq: 2, Nq: 40, Nk: 30, D: 8 }, { causal: true, offset: -5 }],
  ["packed sequences", { Hq: 2, Nq: 40, Nk: 30, D: 8 }, {
    cuSeqlens: { q: [0, 13, 13, 40], k: [0, 11, 15, 30] },
  }],
  ["a block mask for each head", { Hq: 4, Hkv: 2, Nq: 40, Nk: 30, D: 8 }, {
    blockMask: blockMask.fromFunction((_b, h, i, j) => (h + (i >> 3) + (j >> 3)) % 3 > 0, {
      ...{ heads: 4, queries: 40, keys: 30, block: [8, 8] },
    }),
  }],
];

for (const [name, sizes, meaning] of levelled) {
  const checks = once(() =>
    levels.map((level) => {
      const problem = randomProblem(sizesOf(sizes), 1), { q } = problem;
      const { Nq, Nk } = problem.sizes, shape = [Nq, Nk];
      const bias = { data: new Float32Array(Nq * Nk).fill(level), shape };
      const call = gradientCall({ ...problem, q: q.map(() => 0) }, { ...meaning, bias });
      return { call, check: gradientExpectation(call), what: `at ${level}` };
    })
  );
  contract(
    `attentionWithGradient() stays within the error budget at any common level: ${name}`,
    async (engine) => {
      for (const { call, check, what } of checks()) {
        check(await keptGradientsOf(engine, call), what);
      }
    },
    { daily: 1 / 3, needs: "backward" },
  );
}

contract("attentionWithGradient() keeps a level in any rank and layout", async (engine) => {
  const problem = randomProblem(sizesOf({ Nq: 20, Nk: 30, D: 8 }), 1), { q, k, v } = problem;
  const bias = { data: Float32Array.of(1e5), shape: [1] };
  const { cotangents: { dOut } } = gradientCall(problem);
  const run = async (shape: (rows: number) => number[], layout?: "bnhd") => {
    const given = [q, k, v].map((data) => tensor(data, shape(data.length / 8)));
    const options = { bias, layout };
    const { backward } = await engine.attentionWithGradient(given[0], given[1], given[2], options);
    const gradients: Gradients<Tensor> = await backward(tensor(dOut, shape(20)));
    return eachGradient(gradients, ({ data }) => data);
  };
  const expected = await run((rows) => [1, 1, rows, 8]);
  assertSameGradients(await run((rows) => [rows, 8]), expected, "of rank 2");
  assertSameGradients(await run((rows) => [1, rows, 1, 8], "bnhd"), expected, "in bnhd");
}, { needs: "backward" });

/** Gradients of rows, keys and values that are all one number, from an exact `out` and `lse`. */
async function gradientsOfEqual(
  engine: Engine,
  [rows, keys]: readonly [number, number],
  bias?: readonly number[],
) {
  const x = Math.fround(0.1), fill = (n: number) => tensor(new Float32Array(n).fill(x), [n, 1]);
  const [q, k, v, dOut, out] = [rows, keys, keys, rows, rows].map(fill);
  const lse = tensor(new Float32Array(rows).fill(x * x + Math.log(keys)), [rows]);
  const dLse = tensor(new Float32Array(rows).fill(x), [rows]);
  const zeros = bias && { data: new Float32Array(bias.reduce((a, b) => a * b, 1)), shape: bias };
  const options = { scale: 1, out, lse, dLse, bias: zeros };
  const gradients: Gradients<Tensor> = await engine.attentionBackward(dOut, q, k, v, options);
  // The weights that the given lse makes; delta and what it is subtracted from are the same.
  const weight = Math.exp(x * x - lse.data[0]), { length } = zeros?.data ?? [];
  const exact: Gradients<number> = {
    ...{ dq: weight * keys * x * x, dk: weight * rows * x * x, dv: weight * rows * x },
    dBias: weight * x * rows * keys / length,
  };
  return { gradients, exact };
}

contract("attentionBackward() is as good over a million rows or keys", async (engine, backend) => {
  // Mesa's software adapter leaves a shader's loops after 65,535 turns.
  const many = backend.name === "webgpu" ? 2 ** 14 : 2 ** 20;
  for (
    const [sizes, bias] of [
      [[many, 1], [1]],
      [[many, 2], [2]],
      [[1, many], [1]],
      [[2, many], [2, 1]],
    ] as const
  ) {
    const { gradients, exact } = await gradientsOfEqual(engine, sizes, bias);
    eachGradient(gradients, ({ data }, name) => {
      const error = Math.abs(data[0] / exact[name]! - 1);
      assert(error <= 2e-6, `${name} of ${sizes} is off by ${error}`);
    });
  }
}, { daily: 1 / 3, needs: "backward" });

const sinkCall = once(() => {
  const problem = randomProblem(sizesOf({ B: 3, Hq: 8, Hkv: 2, Nq: 33, Nk: 20, D: 8 }), 2);
  const sinks = [-1e10, -1e12, -3e30, -1e38, 1e10, 1e30, 3e38, 0];
  return gradientCall(problem, { sinks: { data: Float32Array.from(sinks), shape: [8] } });
});
const checkSinks = once(() => gradientExpectation(sinkCall()));

contract("attentionWithGradient() takes sinks of any magnitude", async (engine) => {
  checkSinks()(await keptGradientsOf(engine, sinkCall()));
  checkSinks()(await gradientsOf(engine, sinkCall()), "of the two calls");
}, { needs: "backward" });

/** NaN of several bits; those that are quiet and those that are not. */
const payloads = [0x7fc00001, 0xffffffff, 0x7fa12345, 0xff812345];

/** Which elements are NaN, and the others. */
function shown(gradients: Gradients<Float32Array>): Gradients<string[]> {
  return eachGradient(gradients, (x) => Array.from(x, String));
}

/** Which NaN it is makes no difference to gradients. */
async function assertSameWhateverNaN(
  engine: Engine,
  call: GradientCall,
  name: "q" | "k" | "v" | "dOut" | "dLse" | "out" | "lse" | "bias",
) {
  const { q, k, v } = inputsOf(call.problem), exact = referenceAttention(q, k, v, call.meaning);
  const forward = {
    out: Float32Array.from(exact.out.data),
    lse: Float32Array.from(exact.lse.data),
  };
  const run = async (bits: number) => {
    const spoilt = <T extends object>(from: T): T => {
      const data = (from as Record<string, unknown>)[name];
      if (!(data instanceof Float32Array)) return from;
      const copy = data.slice();
      new Uint32Array(copy.buffer)[3] = bits;
      return { ...from, [name]: copy };
    };
    const given = {
      meaning: name === "bias" ? { ...call.meaning, bias: spoiltBias(bits) } : call.meaning,
      problem: spoilt<Problem>(call.problem),
      cotangents: spoilt<Cotangents>(call.cotangents),
    };
    return shown(await gradientsOf(engine, given, spoilt(forward)));
  };
  const spoiltBias = (bits: number) => {
    const { data, shape } = call.meaning.bias as Tensor, copy = data.slice();
    new Uint32Array(copy.buffer)[3] = bits;
    return { data: copy, shape };
  };
  const expected = await run(0x7fc00000);
  assert(expected.dq.includes("NaN"), `a NaN in ${name} is lost`);
  for (const bits of payloads) assertEquals(await run(bits), expected, `${name}: ${bits}`);
}

contract("attentionBackward() takes a NaN of any bits for NaN", async (engine) => {
  const sizes = sizesOf({ Hq: 2, Nq: 9, Nk: 11, D: 4 });
  const bias = { data: new Float32Array(99), shape: [9, 11] };
  const call = gradientCall(randomProblem(sizes, 1), { bias });
  for (const name of ["q", "k", "v", "dOut", "dLse", "out", "lse", "bias"] as const) {
    await assertSameWhateverNaN(engine, call, name);
  }
}, { needs: "backward" });
