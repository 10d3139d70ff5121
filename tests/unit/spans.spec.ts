import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { queriesOf } from "../../src/webgpu/attention/spans.ts";

/** A segment with these queries; its keys do not matter here. */
function segment(batch: number, firstQuery: number, queries: number) {
  return { batch, firstQuery, queries, firstKey: 0, keys: 1, offset: 0 };
}

test("queriesOf() goes up to the end of the longest batch, wherever it is", () => {
  const heads = [0, 1] as const;
  for (const counts of [[4, 2], [2, 4], [4, 0, 3]]) {
    const plan = {
      packed: false,
      group: 1,
      segments: counts.map((count, batch) => segment(batch, 0, count)),
    };
    const region = { batch: [0, counts.length] as const, heads, positions: [0, 4] as const };
    assertEquals(queriesOf(plan, region), [0, 4], `${counts}`);
    assertEquals(queriesOf(plan, { ...region, positions: [1, 3] }), [1, 3], `${counts}`);
  }
});

test("queriesOf() goes up to the end of the last sequence of packed ones", () => {
  const plan = {
    packed: true,
    group: 1,
    segments: [segment(0, 0, 3), segment(0, 3, 2), segment(0, 5, 0)],
  };
  const region = { batch: [0, 3], heads: [0, 1], positions: [0, 3] } as const;
  assertEquals(queriesOf(plan, region), [0, 5]);
});
