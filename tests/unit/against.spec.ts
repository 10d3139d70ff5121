import { test } from "node:test";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { compare, type Pair } from "../../bench/against/comparison.ts";
import { median, spreadOf } from "../../bench/spread.ts";

test("median() is the middle of numbers in any order, between the two of an even count", () => {
  assertEquals(median([3, 1, 2]), 2);
  assertEquals(median([10, 9, 1, 2]), 5.5);
  assertEquals(median([7]), 7);
});

test("spreadOf() gives quartiles, between neighbours where a quarter falls there", () => {
  assertEquals(spreadOf([5, 4, 3, 2, 1]), { median: 3, lower: 2, upper: 4 });
  assertEquals(spreadOf([1, 2, 3, 4]), { median: 2.5, lower: 1.75, upper: 3.25 });
  assertEquals(spreadOf([2]), { median: 2, lower: 2, upper: 2 });
});

test("compare() forms ratios within a pair, so that what slows both down changes nothing", () => {
  const pairs = [1, 10, 3, 100, 2].map((load): Pair => ({
    here: { run: 3 * load },
    there: { run: 2 * load },
  }));
  const [{ name, here, there, ratio }] = compare(pairs);
  assertEquals({ name, here, there }, { name: "run", here: 3, there: 2 });
  for (const share of Object.values(ratio)) assertAlmostEquals(share, 1.5);
});

test("compare() takes the median of the ratios, not the ratio of the medians", () => {
  const times = [[1, 2], [4, 1], [9, 10]];
  const [{ ratio }] = compare(times.map(([here, there]) => ({
    here: { run: here },
    there: { run: there },
  })));
  assertEquals(ratio.median, 0.9);
});

test("compare() leaves out pairs in which a side has no time, and measures without any", () => {
  const rows = compare([
    { here: { both: 1, new: 1 }, there: { both: 2 } },
    { here: { both: 5 }, there: {} },
    { here: { both: 1 }, there: { both: 2, old: 3 } },
  ]);
  assertEquals(rows.map(({ name, pairs }) => ({ name, pairs })), [{ name: "both", pairs: 2 }]);
  assertEquals(rows[0].ratio, { median: 0.5, lower: 0.5, upper: 0.5 });
});

test("compare() tells who is faster beyond 2 %, where all of five pairs or ten of eleven agree", () => {
  const of = (ratios: number[]) =>
    compare(ratios.map((ratio) => ({ here: { run: ratio }, there: { run: 1 } })))[0].verdict;
  assertEquals(of([1.03, 1.01, 1.03, 1.5, 1.03]), "slower");
  assertEquals(of([0.97, 0.99, 0.97, 0.5, 0.97]), "faster");
  assertEquals(of([1.03, 0.99, 1.03, 1.5, 1.03]), "");
  assertEquals(of([0.97, 1.01, 0.97, 0.5, 0.97]), "");
  assertEquals(of([1.015, 1.01, 1.015, 1.5, 1.015]), "");
  assertEquals(of([1.03, 1.03, 1.03, 1.03]), "");
  const ten = Array.from({ length: 10 }, () => 1.03);
  assertEquals([of([...ten, 0.5]), of([...ten.slice(1), 0.5, 0.5])], ["slower", ""]);
});
