import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { dotProbe } from "../../src/wasm/binary/integer.gen.ts";
import { decode } from "../../src/wasm/binary/module.ts";
import { dots, measureDots } from "../../src/wasm/integer/dots.ts";

const bytes = decode(dotProbe);

test(
  "both forms of a product of bytes that are raced have the same sums",
  WebAssembly.validate(bytes) ? {} : { skip: "this runtime has no relaxed SIMD" },
  () => {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes));
    const { fused, pairs } = exports as Record<"fused" | "pairs", (count: number) => number>;
    for (const count of [0, 1, 2, 77, 1000]) assertEquals(fused(count), pairs(count));
  },
);

test("measureDots() knows a winner, once a process", async () => {
  const first = measureDots();
  assertEquals(measureDots(), first);
  await first;
  assertEquals(typeof dots.areFused, "boolean");
});
