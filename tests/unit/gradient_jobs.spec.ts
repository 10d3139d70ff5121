import { blockMask, tensor } from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import type { AttentionOptions } from "../../src/operations/attention/options.ts";
import { planAttention, type TensorPlan } from "../../src/operations/attention/plan.ts";
import type { View } from "../../src/tensor/tensor.ts";
import {
  chunkKeys,
  chunksOf,
  countChunks,
  countPanels,
  cutGradients,
  type GradientRun,
  gradientRunsOf,
} from "../../src/wasm/backward/gradient_jobs.ts";

/** A plan of so many heads, queries, keys and dims. */
function planOf(
  [heads, queries, keys, dim, valueDim = dim]: readonly number[],
  options: AttentionOptions = {},
): TensorPlan<View> {
  const zeros = (rows: number, width: number) =>
    tensor(new Float32Array(heads * rows * width), [heads, rows, width]);
  const plan = planAttention(
    ...[zeros(queries, dim), zeros(keys, dim), zeros(keys, valueDim)] as const,
    options,
  );
  return plan as TensorPlan<View>;
}

function wavesOf(plan: TensorPlan<View>, threads: number, bytes = 1): (readonly GradientRun[])[] {
  return [...gradientRunsOf(plan, cutGradients(plan, threads), () => bytes)];
}

test("gradientRunsOf() covers every row and key of every head once, ranges of keys in order", () => {
  for (const sizes of [[2, 5000, 9000, 64], [3, 100, 300, 16], [1, 700, 5000, 128]]) {
    const [heads, queries, keys] = sizes, plan = planOf(sizes);
    for (const threads of [1, 2, 5]) {
      const areas = new Array<number>(heads).fill(0);
      let open: GradientRun | undefined;
      for (const run of wavesOf(plan, threads).flat()) {
        areas[run.keyHead] += (run.to - run.from) * (run.endKey - run.firstKey);
        if (run.opens) assertEquals(run.from, 0);
        else assertEquals([open!.to, open!.firstKey], [run.from, run.firstKey]);
        if (run.closes) assertEquals(run.to, queries);
        assertEquals(run.firstKey % chunkKeys, 0);
        open = run;
      }
      assertEquals(areas, new Array(heads).fill(queries * keys));
    }
  }
});

test("gradientRunsOf() cuts keys alike for any number of threads", () => {
  const plan = planOf([1, 3000, 9000, 64]);
  const keyRanges = (threads: number) => {
    const opened = wavesOf(plan, threads).flat().filter(({ opens }) => opens);
    return opened.map(({ firstKey, endKey }) => [firstKey, endKey]);
  };
  assertEquals(keyRanges(1), keyRanges(7));
  assert(keyRanges(1).length > 1);
});

test("cutGradients() makes runs of units that are the same for any number of threads", () => {
  for (const [heads, dim] of [[1, 64], [3, 64], [8, 128], [70, 128], [600, 8]]) {
    const zeros = (heads: number, rows: number) =>
      tensor(new Float32Array(heads * rows * dim), [heads, rows, dim]);
    const [q, k] = [zeros(heads, 500), zeros(1, 300)];
    const plan = planAttention(q, k, k) as TensorPlan<View>, { unit } = cutGradients(plan, 1);
    for (const threads of [1, 2, 3, 7]) {
      const cut = cutGradients(plan, threads);
      assertEquals([cut.unit, cut.positions % unit], [unit, 0]);
    }
    const whole = 64 / Math.min(64, heads & -heads);
    assertEquals(unit, [70].includes(heads) ? 9 : Math.min(whole, unit));
  }
});

test("chunksOf() cuts a range of keys alike whatever its rows are, its end finest", () => {
  const chunks = (firstKey: number, endKey: number) =>
    chunksOf({
      ...{ segment: 0, keyHead: 0, from: 3, to: 9 },
      firstKey,
      endKey,
      opens: true,
      closes: true,
    });
  assertEquals(chunks(0, 0), [0]);
  assertEquals(chunks(0, 200), [0, 200]);
  assertEquals(chunks(512, 1200), [512, 768, 1024, 1088, 1152, 1200]);
});

test("gradientRunsOf() puts heads together as far as their bytes allow, for several threads", () => {
  const plan = planOf([8, 256, 256, 64]), { waveBytes } = cutGradients(plan, 2);
  assertEquals(wavesOf(plan, 2, waveBytes / 4).map(({ length }) => length), [4, 4]);
  assertEquals(wavesOf(plan, 1).map(({ length }) => length), new Array(8).fill(1));
});

test("gradientRunsOf() gives a run where there are rows and no keys, and none without rows", () => {
  assertEquals(wavesOf(planOf([1, 3, 0, 8]), 1).map(([one]) => countChunks(one)), [0]);
  assertEquals(wavesOf(planOf([1, 0, 3, 8]), 1), []);
});

test("countPanels() counts panels of blocks of queries by themselves", () => {
  const mask = blockMask.fromFunction(() => true, { queries: 100, keys: 64, block: [10, 16] });
  const plan = planOf([1, 100, 64, 8], { blockMask: mask }), cut = cutGradients(plan, 1);
  const panels = (from: number, to: number) =>
    countPanels(plan, cut, { segment: 0, keyHead: 0, from, to });
  assertEquals(panels(0, 100), 20); // Two of each ten rows.
  assertEquals(panels(5, 21), 1 + 2 + 1);
});
