import { test } from "node:test";
import { blockMask } from "@flashtile/attention";
import { withEngines } from "../support/engines.ts";
import { errorOf } from "../support/errors.ts";
import {
  assertSameGradients,
  cotangentTensors,
  gradientCall,
  gradientsOf,
} from "../support/gradients.ts";
import { inputsOf, type Meaning, randomProblem, sizesOf } from "../support/problem.ts";
import { normals, seeded } from "../support/random.ts";
import { longTest } from "../support/share.ts";

interface Case {
  readonly name: string;
  readonly sizes: Parameters<typeof sizesOf>[0];
  readonly meaning?: Meaning;
}

/** Calls with enough work that threads take part. */
const cases: readonly Case[] = [
  { name: "one head", sizes: { Nq: 700, D: 64 } },
  { name: "one head, causal", sizes: { Nq: 700, D: 32 }, meaning: { causal: true } },
  { name: "4 heads", sizes: { Hq: 4, Nq: 250, D: 64 }, meaning: { causal: true } },
  {
    name: "grouped heads",
    sizes: { Hq: 8, Hkv: 2, Nq: 150, Nk: 233, D: 40, Dv: 24 },
    meaning: { causal: true, offset: 40 },
  },
  {
    name: "several batches, ragged sizes",
    sizes: { B: 3, Hq: 3, Nq: 129, Nk: 201, D: 33, Dv: 17 },
    meaning: { causal: true, offset: [-100, 0, 150] },
  },
  { name: "70 heads that share one", sizes: { Hq: 70, Hkv: 1, Nq: 9, Nk: 200, D: 20 } },
  { name: "few queries, many keys", sizes: { Hq: 4, Hkv: 2, Nq: 3, Nk: 9000, D: 16 } },
  { name: "many queries, few keys", sizes: { Hq: 2, Nq: 3000, Nk: 5, D: 32 } },
  {
    name: "a bias for all heads and batches, sinks, softcap",
    sizes: { B: 2, Hq: 4, Hkv: 2, Nq: 200, Nk: 210, D: 32 },
    meaning: {
      bias: { data: normals(200 * 210, seeded(1)), shape: [200, 210] },
      sinks: { data: normals(4, seeded(2)), shape: [4] },
      softcap: 5,
    },
  },
  {
    name: "a bias for each key",
    sizes: { Nq: 700, Nk: 300, D: 32 },
    meaning: { bias: { data: normals(300, seeded(3)), shape: [300] } },
  },
  {
    name: "one number as bias",
    sizes: { Hq: 4, Nq: 200, Nk: 300, D: 32 },
    meaning: { bias: { data: Float32Array.of(0.25), shape: [1] } },
  },
  {
    name: "three heads that share one, many rows in blocks",
    sizes: { Hq: 3, Hkv: 1, Nq: 1500, Nk: 40, D: 48 },
    meaning: {
      blockMask: blockMask.fromFunction((_b, _h, i, j) => (i + j) % 3 > 0, {
        ...{ queries: 1500, keys: 40, block: [40, 8] },
      }),
    },
  },
  {
    name: "a block mask for each head",
    sizes: { Hq: 3, Hkv: 1, Nq: 1100, Nk: 40, D: 64 },
    meaning: {
      blockMask: blockMask.fromFunction((_b, h, i, j) => (h + i + j) % 3 > 0, {
        ...{ heads: 3, queries: 1100, keys: 40, block: [40, 8] },
      }),
    },
  },
  { name: "70 heads of many rows", sizes: { Hq: 70, Hkv: 1, Nq: 80, Nk: 30, D: 128, Dv: 8 } },
  {
    name: "packed sequences",
    sizes: { Hq: 4, Hkv: 2, Nq: 500, Nk: 400, D: 32 },
    meaning: { cuSeqlens: { q: [0, 10, 300, 300, 500], k: [0, 50, 350, 360, 400] } },
  },
];

for (const { name, sizes, meaning } of cases) {
  longTest(
    `attentionBackward() gives the same bits for any number of threads: ${name}`,
    async () => {
      const call = gradientCall(randomProblem(sizesOf(sizes), 1), meaning);
      await withEngines(async (alone, teams) => {
        const expected = await gradientsOf(alone, call);
        assertSameGradients(await gradientsOf(alone, call), expected, "of one thread, again");
        for (const [at, engine] of teams.entries()) {
          // The first call may be over before a worker is there.
          for (let time = 0; time < 3; time++) {
            const what = `of ${at + 2} threads, time ${time}`;
            assertSameGradients(await gradientsOf(engine, call), expected, what);
          }
        }
      });
    },
  );
}

test("attentionBackward() on threads works again after calls were aborted in the middle", async () => {
  const problem = randomProblem(sizesOf({ Hq: 4, Nq: 300, D: 64 }), 3);
  const call = gradientCall(problem), { q, k, v } = inputsOf(problem);
  const { dOut } = cotangentTensors(problem, call.cotangents);
  await withEngines(async (alone, [, engine]) => {
    const expected = await gradientsOf(alone, call);
    for (let time = 0; time < 6; time++) {
      const controller = new AbortController(), { signal } = controller;
      const { backward } = await engine.attentionWithGradient(q, k, v);
      const pass = backward(dOut, { signal });
      if (time % 2 === 0) controller.abort("stop");
      else setTimeout(() => controller.abort("stop"), time / 4);
      await errorOf(() => pass.then(() => Promise.reject("over before")));
      assertSameGradients(await gradientsOf(engine, call), expected, `after abort ${time}`);
    }
  });
});
