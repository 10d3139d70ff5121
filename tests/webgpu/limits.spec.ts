import { createEngine } from "@flashtile/attention";
import { referenceAttention } from "@flashtile/attention/reference";
import { assert } from "@std/assert";
import { planAttention } from "../../src/operations/attention/plan.ts";
import { viewOf } from "../../src/tensor/tensor.ts";
import { forward } from "../../src/webgpu/attention/forward.ts";
import { fits, type Tile, tiles } from "../../src/webgpu/attention/variants.ts";
import { watch } from "../../src/webgpu/device/device.ts";
import { type Bounds, Session } from "../../src/webgpu/device/session.ts";
import { assertSameBits } from "../support/bits.ts";
import { assertWithinBudget, measure } from "../support/budget.ts";
import { gpuTest, sharedGpu } from "../support/device.ts";
import { errorOf } from "../support/errors.ts";
import { findGpu } from "../support/gpu.ts";
import { naiveAttention } from "../support/naive.ts";
import { inputsOf, randomProblem, type Sizes, sizesOf } from "../support/problem.ts";
import { sharedOnGpu } from "../support/share.ts";

/** Runs a call under bounds of a session; returns its results and how often it told its progress. */
async function runBounded(session: Session, sizes: Sizes, options: object, tile?: Tile) {
  const problem = randomProblem(sizes, 1);
  const { q, k, v } = inputsOf(problem);
  const plan = planAttention(q, k, v, options);
  const shape = [sizes.B, sizes.Hq, sizes.Nq, sizes.Dv];
  const out = { data: new Float32Array(shape.reduce((a, b) => a * b)), shape };
  const rows = {
    data: new Float32Array(out.data.length / sizes.Dv),
    shape: [...shape.slice(0, 3), 1],
  };
  let steps = 0;
  const target = { out: viewOf(out, "bhnd"), lse: viewOf(rows, "bhnd") };
  await forward(session, plan, target, { onProgress: () => steps++ }, () => {}, tile);
  const exact = referenceAttention(q, k, v, options);
  const naive = naiveAttention(problem, options);
  assertWithinBudget("out", measure(out.data, naive.out, exact.out.data));
  assertWithinBudget("lse", measure(rows.data, naive.lse, exact.lse.data));
  return steps;
}

gpuTest("attention() gives the same bits whatever was learned of the device's speed", async () => {
  for (const sizes of [{ Hq: 3, Hkv: 1, Nq: 190 }, { Hq: 2, Nq: 125 }, { Hq: 8, Hkv: 2, Nq: 60 }]) {
    const { q, k, v } = inputsOf(randomProblem(sizesOf({ ...sizes, Nk: 200, D: 32 }), 1));
    const plan = planAttention(q, k, v, { causal: true });
    const results = [];
    for (const work of [1e12, 1e5]) {
      const session = new Session(await sharedGpu()), data = new Float32Array(q.data.length);
      session.work = work;
      let steps = 0;
      const target = { out: viewOf({ data, shape: q.shape }, "bhnd"), lse: null };
      await forward(session, plan, target, { onProgress: () => steps++ }, () => {});
      session.close();
      results.push({ data, steps });
    }
    const [fast, slow] = results;
    assert(slow.steps > fast.steps, `${slow.steps} steps`);
    assertSameBits(slow.data, fast.data);
  }
});

const bounds: [name: string, bounds: Partial<Bounds>][] = [
  ["bindings of 16 KiB over whole arrays", { bindingBytes: 16_384 }],
  ["bindings of 16 KiB, arrays in parts", { bindingBytes: 16_384, wholeBytes: 20_000 }],
  ["bindings of 16 KiB, nothing kept", { bindingBytes: 16_384, wholeBytes: 100 }],
];

for (const [name, given] of bounds) {
  gpuTest(`attention() is right with ${name}`, async () => {
    const session = new Session(await sharedGpu(), given);
    session.work = 1e5;
    const steps = await runBounded(
      session,
      sizesOf({ B: 2, Hq: 4, Hkv: 2, Nq: 70, Nk: 300, D: 20 }),
      { causal: true },
    );
    assert(steps > 8, `${steps} steps`);
    await runBounded(session, sizesOf({ Hq: 2, Hkv: 1, Nq: 1, Nk: 900, D: 64, Dv: 32 }), {});
    await runBounded(session, sizesOf({ B: 2, Hq: 2, Nq: 100, Nk: 50, D: 64 }), {
      causal: true,
      offset: [5, -3],
    });
    session.close();
  });
}

gpuTest("a row has the same bits however its call is cut", async () => {
  const { q, k, v } = inputsOf(randomProblem(sizesOf({ Hq: 2, Nq: 150, Nk: 1500, D: 32 }), 4));
  for (const options of [{ window: [300, 20] }, { causal: true }] as const) {
    const plan = planAttention(q, k, v, options);
    const results = [];
    for (const work of [1e12, 2e5]) {
      const session = new Session(await sharedGpu());
      session.work = work;
      const out = { data: new Float32Array(q.data.length), shape: q.shape };
      await forward(session, plan, { out: viewOf(out, "bhnd"), lse: null }, {}, () => {});
      results.push(out.data);
      session.close();
    }
    assertSameBits(results[1], results[0]);
  }
});

/** Tiles beside those that are chosen here; the first is so narrow that any subgroup holds its rows. */
const otherTiles: Tile[] = [
  { TX: 4, TY: 8, ROWS: 4, RK: 4, SLICE: 8, VALUES: 8, queries: "read" },
  { TX: 4, TY: 4, ROWS: 8, RK: 2, SLICE: 16, VALUES: 8, queries: "whole" },
  { TX: 16, TY: 4, ROWS: 4, RK: 1, SLICE: 16, VALUES: 16, queries: "slices" },
  { TX: 8, TY: 8, ROWS: 8, RK: 4, SLICE: 8, VALUES: 16, queries: "slices" },
  tiles.large,
];

gpuTest("attention() is right in any tile, with subgroups where there are some", async () => {
  const session = new Session(await sharedGpu());
  const { limits } = session.gpu.device;
  for (const tile of sharedOnGpu(otherTiles.filter((one) => fits(one, limits)), 1, "other tiles")) {
    for (
      const sizes of [
        sizesOf({ Hq: 2, Nq: 70, Nk: 90, D: 64 }),
        sizesOf({ Nq: 3, Nk: 1030, D: 24 }),
      ]
    ) {
      await runBounded(session, sizes, { causal: true }, tile);
    }
  }
  session.close();
});

gpuTest(
  "attention() is right where one submit has more dispatches than the ring has slots",
  async () => {
    const session = new Session(await sharedGpu());
    await runBounded(session, sizesOf({ Nq: 2, Nk: 3, D: 4, Dv: 70_000 }), {});
    session.close();
  },
);

gpuTest("attention() says what a GPU cannot bind, and nothing is left behind", async () => {
  const session = new Session(await sharedGpu(), { bindingBytes: 1024 });
  const before = session.bytes;
  const error = await errorOf(() => runBounded(session, sizesOf({ Nq: 2, Nk: 3, D: 400 }), {}));
  assert(error instanceof RangeError, `${error}`);
  assert(session.bytes - before < 64 * 1024);
  session.close();
});

gpuTest("attention() is right on a device at the default limits", async () => {
  const adapter = await (await findGpu())!.requestAdapter();
  const device = await adapter!.requestDevice();
  const session = new Session(watch(device));
  await runBounded(session, sizesOf({ Hq: 2, Nq: 70, Nk: 90, D: 64 }), { causal: true });
  await runBounded(session, sizesOf({ Hq: 2, Nq: 40, Nk: 50, D: 300, Dv: 200 }), {});
  session.close();
  device.destroy();
});

gpuTest("attention() is right where a head is larger than a binding can be", async () => {
  // 144 MiB of keys where the default is 128 MiB: one query is enough.
  const adapter = await (await findGpu())!.requestAdapter();
  const device = await adapter!.requestDevice();
  const engine = await createEngine({ backend: "webgpu", device });
  const Nk = 2 ** 19 + 2 ** 16, D = 64;
  const k = { data: new Float32Array(Nk * D), shape: [Nk, D] };
  const v = { data: new Float32Array(Nk * 4), shape: [Nk, 4] };
  for (let j = 0; j < Nk; j++) v.data[j * 4] = j % 2;
  const q = { data: new Float32Array(D).fill(1), shape: [1, D] };
  k.data.fill(4, (Nk - 1) * D); // The last key takes all the weight.
  const { out } = await engine.attention(q, k, v);
  await engine.close();
  device.destroy();
  assert(Math.abs(out.data[0] - 1) < 1e-3, `${out.data}`);
});
