import { captured, createEngine, type ScoreFunctions, where } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { contract } from "../contract/backends.ts";
import { assertSameBits } from "../support/bits.ts";
import { withEngines } from "../support/engines.ts";
import { deep, few, functions, large } from "../support/functions.ts";
import {
  assertCloseGradients,
  assertSameGradients,
  gradientCall,
  gradientExpectation,
  gradientsOf,
  keptGradientsOf,
} from "../support/gradients.ts";
import { once } from "../support/once.ts";
import { boundariesOf } from "../support/plan.ts";
import { inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { problemOfCase, scoreCases } from "../support/score_functions.ts";
import { sharedOut, sharedOutByShader } from "../support/share.ts";

const needs = ["backward", "functions"] as const;

for (const { name, read } of sharedOutByShader(scoreCases, 6, "gradients of functions")) {
  const given = once(() => {
    const one = read(), { functions, inputs: { dOut } } = one;
    const call = {
      problem: problemOfCase(one),
      meaning: functions,
      cotangents: { dOut: dOut.data },
    };
    return { call, check: gradientExpectation(call) };
  });
  contract(`attentionBackward() agrees with flex_attention on ${name}`, async (engine) => {
    const { call, check } = given();
    check(await gradientsOf(engine, call));
  }, { daily: 1 / 3, needs });
}

// Small ones: what f32 takes from a large `lse` is not known to a pass that is given it alone.
const slopes = captured(normals(4, seeded(8), 0.02), [4], { grad: true });
const steep = captured(normals(4, seeded(8)), [4], { grad: true });
const far = captured(normals(4 * 400, seeded(9)), [4, 400], { grad: true });
const other = captured(normals(7, seeded(10)), [7], { grad: true });

/** Functions of the forward pass, and those of captured arrays that have gradients. */
const meanings: Readonly<Record<string, Meaning>> = {
  ...functions,
  "slopes by head": {
    scoreMod: (score, { h, q, k }) => score.sub(slopes.at(h).mul(q.sub(k).abs().toF32())),
    causal: true,
  },
  "two arrays, one of them twice, and a cap": {
    scoreMod: (score, { h, q, k }) =>
      score.mul(other.at(q.mod(7)).exp()).add(far.at(h, q.sub(k).add(310))).add(
        other.at(k.mod(9)).tanh(),
      ),
    softcap: 4,
    bias: { data: normals(4 * 301, seeded(2)), shape: [4, 1, 301] },
  },
  "every curve and corner": {
    scoreMod: (score, { q, k }) => {
      const a = score.div(score.abs().add(1)).sigmoid(), b = a.add(0.5).log().neg();
      const c = score.mul(score).add(1).sqrt().sub(b.exp());
      const d = c.max(score.mul(0.5)).min(b.add(2)).clamp(-1, 1.5);
      return where(q.add(k).mod(2).eq(0), d, d.sub(score.mod(3))).add(other.at(q.mod(7)));
    },
  },
};

for (const [name, meaning] of sharedOutByShader(Object.entries(meanings), 3, "gradients")) {
  // What may be NaN has no error to be measured by.
  if (name === "what is NaN where it is masked") continue;
  const call = gradientCall(large, meaning, 3), check = gradientExpectation(call);
  contract(`attentionBackward() takes functions: ${name}`, async (engine) => {
    check(await gradientsOf(engine, call));
    check(await keptGradientsOf(engine, call), "kept");
  }, { daily: 1 / 3, needs });

  test(`gradients with functions have the same bits on any number of threads: ${name}`, async () => {
    await withEngines(async (alone, teams) => {
      const expected = await gradientsOf(alone, call);
      for (const team of teams) assertSameGradients(await gradientsOf(team, call), expected);
    });
  });
}

for (const [name, meaning] of sharedOut(Object.entries(deep), 2, "deep gradients")) {
  const call = gradientCall(few, meaning), check = gradientExpectation(call);
  contract(`attentionBackward() takes functions as deep as they come: ${name}`, async (engine) => {
    check(await gradientsOf(engine, call));
  }, { daily: 1 / 3, needs: ["backward", "deepFunctions"] });
}

contract("gradients of steep slopes are right where what rounding took is kept", async (engine) => {
  const call = gradientCall(large, {
    scoreMod: (score, { h, q, k }) => score.sub(steep.at(h).mul(q.sub(k).abs().toF32())),
    causal: true,
  });
  gradientExpectation(call)(await keptGradientsOf(engine, call));
}, { daily: 1 / 3, needs });

contract("gradients with functions count rows within their sequence", async (engine) => {
  const cuSeqlens = boundariesOf([[3, 7], [0, 0], [40, 5], [1, 300], [70, 70], [2, 0]]);
  const [Nq, Nk] = [cuSeqlens.q.at(-1)!, cuSeqlens.k.at(-1)!];
  const problem = randomProblem(sizesOf({ Hq: 4, Hkv: 2, Nq, Nk, D: 8 }), 3);
  const call = gradientCall(problem, {
    cuSeqlens,
    scoreMod: (score, { b, q, k }) => score.add(other.at(b)).add(q.sub(k).toF32().mul(0.1)),
    maskMod: ({ b, k }) => k.mod(b.add(2)).ne(0),
  });
  gradientExpectation(call)(await gradientsOf(engine, call));
}, { daily: 1 / 3, needs });

contract("gradients carry no NaN from what is masked, or not taken", async (engine, backend) => {
  const base = { maskMod: ({ k }) => k.ge(9) } satisfies ScoreFunctions;
  const expected = await gradientsOf(engine, gradientCall(large, base));
  for (
    const asked of [
      // Masked, by the other function.
      { ...base, scoreMod: (score, { k }) => where(k.lt(9), score.mul(NaN), score) },
      // Not taken: a root of what is below 0.
      {
        ...base,
        scoreMod: (score, { k }) => where(k.ge(0), score, score.abs().neg().sqrt().mul(score)),
      },
      // Not taken, by ways that part again before they come to it: 0 of both, times NaN.
      {
        ...base,
        scoreMod: (score, { k }) => {
          const root = score.abs().neg().sqrt();
          return where(k.ge(0), score, root.min(score.div(root)));
        },
      },
      // A root of 0, whose slope is infinite; of what is made of it nothing comes.
      {
        ...base,
        scoreMod: (score) => {
          const root = score.sub(score).sqrt(), part = root.div(root.abs().add(0.5));
          return score.add(part.abs());
        },
      },
    ] satisfies ScoreFunctions[]
  ) {
    const found = await gradientsOf(engine, gradientCall(large, asked));
    if (backend.name === "webgpu") assertCloseGradients(found, expected); // Another shader rounds otherwise.
    else assertSameGradients(found, expected);
  }
}, { needs });

contract("the gradient of bounds that cross is that of the upper one", async (engine) => {
  const low = captured(Float32Array.of(0.5), [1], { grad: true });
  const high = captured(Float32Array.of(-0.5), [1], { grad: true });
  const call = gradientCall(large, { scoreMod: (score) => score.clamp(low.at(0), high.at(0)) });
  const { dq, dArrays } = await gradientsOf(engine, call);
  assert(dq.every((x) => x === 0));
  assertEquals(dArrays![0], 0);
  gradientExpectation(call)(await gradientsOf(engine, call));
}, { daily: 1 / 3, needs });

test("dCaptured has a tensor for each array that asks for one, and nothing otherwise", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 3, Nk: 4, D: 5 }), 4));
    const asked = captured(Float32Array.of(1, 2, 3), [3], { grad: true });
    const plain = captured(Float32Array.of(1, 2, 3), [3]);
    const { out, backward } = await engine.attentionWithGradient(q, k, v, {
      scoreMod: (score, { q, k }) => score.add(asked.at(q)).mul(plain.at(k)),
    });
    const { dCaptured } = await backward(out);
    assertEquals([...dCaptured!.keys()], [asked]);
    assertEquals(dCaptured!.get(asked)!.shape, [3]);
    const without = await engine.attentionWithGradient(q, k, v, {
      scoreMod: (score, { k }) => score.mul(plain.at(k)),
    });
    assert(!("dCaptured" in await without.backward(out)));
  } finally {
    await engine.close();
  }
});

test("attentionBackwardSync() takes functions of an engine that is ready for them", async () => {
  const engine = await createEngine({ backend: "wasm", threads: 1 });
  try {
    const { q, k, v } = inputsOf(randomProblem(sizesOf({ Nq: 3, Nk: 4, D: 5 }), 4));
    const asked = functions["documents, causal"];
    await engine.warmup({ functions: true, gradients: true });
    const { out, lse } = engine.attentionSync(q, k, v, { ...asked, lse: true });
    const { dq } = engine.attentionBackwardSync(out, q, k, v, { ...asked, out, lse });
    const expected = await engine.attentionBackward(out, q, k, v, { ...asked, out, lse });
    assertSameBits(dq.data, expected.dq.data);
  } finally {
    await engine.close();
  }
});
