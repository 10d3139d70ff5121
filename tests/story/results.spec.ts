import { test } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { referenceAttention, referenceAttentionBackward } from "@flashtile/attention/reference";
import { flashBackward, standardBackward } from "../../examples/story/backward.ts";
import { splitDecoding } from "../../examples/story/decoding.ts";
import { flashAttention1 } from "../../examples/story/flash1.ts";
import { flashAttention2 } from "../../examples/story/flash2.ts";
import { materialise } from "../../examples/story/materialised.ts";
import { type Matrix, Memory } from "../../examples/story/memory.ts";
import { type Inputs, randomInputs, randomMatrix } from "../../examples/story/problem.ts";
import { naiveSoftmax, onlineSoftmax, safeSoftmax } from "../../examples/story/softmax.ts";
import { standardAttention, weightsOf } from "../../examples/story/standard.ts";
import { tiledAttention } from "../../examples/story/tiled.ts";

/** Ragged last tiles, outside and inside. */
const sizes = { n: 53, d: 6, m: 7 * 6 * 10 };

function tensorOf({ data, rows, columns }: Matrix) {
  return { data, shape: [1, rows, columns] };
}

function assertNear(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = 1e-12) {
  assertEquals(actual.length, expected.length);
  for (let at = 0; at < actual.length; at++) {
    assertAlmostEquals(actual[at], expected[at], tolerance, `number ${at}`);
  }
}

function expected({ q, k, v }: Inputs): Float64Array {
  return referenceAttention(tensorOf(q), tensorOf(k), tensorOf(v)).out.data;
}

/** Inputs whose scores overflow the plain exponential, also in float64. */
function large(): Inputs {
  const { q, k, v } = randomInputs(sizes);
  return { q: { ...q, data: q.data.map((x) => 1000 * (x + 1)) }, k, v };
}

const forward: Readonly<Record<string, (inputs: Inputs, memory: Memory) => Matrix>> = {
  "standardAttention() with safeSoftmax()": (inputs, memory) =>
    standardAttention(inputs, safeSoftmax, memory),
  "standardAttention() with onlineSoftmax()": (inputs, memory) =>
    standardAttention(inputs, onlineSoftmax, memory),
  "tiledAttention()": tiledAttention,
  "flashAttention1()": flashAttention1,
  "flashAttention2()": (inputs, memory) => flashAttention2(inputs, memory).o,
};

for (const [name, attend] of Object.entries(forward)) {
  test(`${name} gives the oracle's result, also for large scores`, () => {
    for (const inputs of [randomInputs(sizes), large()]) {
      assertNear(attend(inputs, new Memory(sizes.m)).data, expected(inputs));
    }
  });
}

test("standardAttention() with naiveSoftmax() is right until a score overflows", () => {
  const inputs = randomInputs(sizes);
  const attend = (inputs: Inputs) => standardAttention(inputs, naiveSoftmax, new Memory(sizes.m));
  assertNear(attend(inputs).data, expected(inputs));
  assertEquals(attend(large()).data.some(Number.isNaN), true);
});

test("flashAttention2() gives the oracle's log-sum-exp", () => {
  const { q, k, v } = randomInputs(sizes);
  const { lse } = flashAttention2({ q, k, v }, new Memory(sizes.m));
  const oracle = referenceAttention(tensorOf(q), tensorOf(k), tensorOf(v));
  assertNear(lse.data, oracle.lse.data);
});

test("standardBackward() and flashBackward() give the oracle's gradients", () => {
  const inputs = randomInputs(sizes), dO = randomMatrix("dO", sizes.n, sizes.d, 9);
  const attended = flashAttention2(inputs, new Memory(sizes.m)), memory = new Memory(sizes.m);
  const p = weightsOf(inputs, onlineSoftmax, memory);
  const { q, k, v } = inputs;
  const oracle = referenceAttentionBackward(
    ...[tensorOf(dO), tensorOf(q), tensorOf(k), tensorOf(v)] as const,
  );
  for (
    const gradients of [
      standardBackward(inputs, { o: attended.o, p }, dO, memory),
      flashBackward(inputs, attended, dO, memory),
    ]
  ) {
    for (const name of ["dq", "dk", "dv"] as const) {
      assertNear(gradients[name].data, oracle[name].data);
    }
  }
});

test("splitDecoding() gives the oracle's result for any number of parts", () => {
  const { k, v } = randomInputs(sizes), q = randomMatrix("q", 1, sizes.d, 4);
  for (const parts of [1, 2, 8, 53, 100]) {
    const { data } = splitDecoding({ q, k, v }, new Memory(sizes.m), parts);
    assertNear(data, expected({ q, k, v }));
  }
});

test("materialise() gives the oracle's result within f32", async () => {
  const { q, k, v } = randomInputs(sizes), f32 = ({ data }: Matrix) => Float32Array.from(data);
  const { out } = await materialise({ q: f32(q), k: f32(k), v: f32(v) }, sizes.d);
  assertNear(out, expected({ q, k, v }), 1e-6);
});
