import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { planAttention } from "../../src/plan.ts";
import { planOf } from "../support/plan.ts";

const sizes = { B: 2, Hq: 6, Hkv: 3, Nq: 4, Nk: 7, D: 16, Dv: 8 };

test("planAttention() names every size", () => {
  const plan = planOf(sizes);
  const { batch, queryHeads, keyHeads, group, queries, keys, dim, valueDim } = plan;
  assertEquals({ batch, queryHeads, keyHeads, group, queries, keys, dim, valueDim }, {
    batch: 2,
    queryHeads: 6,
    keyHeads: 3,
    group: 2,
    queries: 4,
    keys: 7,
    dim: 16,
    valueDim: 8,
  });
  assert(Object.isFrozen(plan));
});

test("planAttention() fills in the defaults", () => {
  const { scale, offsets, band, lseShape, out, outShape } = planOf(sizes);
  assertEquals(scale, 1 / 4);
  assertEquals(offsets, [3, 3]);
  assertEquals(band, { left: Infinity, right: Infinity });
  assertEquals([lseShape, out], [null, null]);
  assertEquals(outShape, [2, 6, 4, 8]);
});

test("planAttention() turns causal into a band and an offset per batch", () => {
  const causal = { left: Infinity, right: 0 };
  for (
    const [options, offsets] of [
      [{ causal: true }, [3, 3]],
      [{ causal: "bottom-right" }, [3, 3]],
      [{ causal: "top-left" }, [0, 0]],
      [{ causal: true, offset: -2 }, [-2, -2]],
      [{ causal: "top-left", offset: [5, 1] }, [5, 1]],
    ] as const
  ) {
    const plan = planOf(sizes, options);
    assertEquals([plan.band, plan.offsets], [causal, offsets]);
  }
});

test("planAttention() takes a scale of 0 as given", () => {
  assertEquals(planOf(sizes, { scale: 0 }).scale, 0);
});

test("planAttention() gives results the rank and layout of q", () => {
  const one = { data: new Float32Array(24), shape: [4, 3, 2] };
  const plain = planAttention(one, one, one, { lse: true });
  assertEquals([plain.outShape, plain.lseShape], [[4, 3, 2], [4, 3]]);
  const turned = planAttention(one, one, one, { lse: true, layout: "bnhd" });
  assertEquals([turned.outShape, turned.lseShape], [[4, 3, 2], [3, 4]]);
});
