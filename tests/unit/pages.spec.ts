import { assertEquals, assertThrows } from "@std/assert";
import { test } from "node:test";
import type { PageLayout } from "../../src/contract/pages.ts";
import { readCached } from "../../src/operations/attention/plan.ts";
import type { Kernels } from "../../src/wasm/binary/kernels.gen.ts";
import { Arena } from "../../src/wasm/memory/arena.ts";
import { WasmPages } from "../../src/wasm/pages/pages.ts";

function makePages(): WasmPages {
  const memory = new WebAssembly.Memory({ initial: 16, maximum: 64 });
  const arena = new Arena(memory, 1024, 64 * 65536);
  const layout: PageLayout = {
    ...{ kvHeads: 2, headDim: 6, valueDim: 6, pageSize: 16, smoothKeys: false },
    dtype: "f32",
  };
  // None of these tests computes anything.
  return new WasmPages({ kernels: {} as Kernels, arena }, layout);
}

test("WasmPages knows which pages are taken, and gives them out again", () => {
  const pages = makePages(), page = pages.take(), other = pages.take();
  pages.check([page, other]);
  pages.give(other);
  for (const wrong of [other, page + 4, -1, NaN]) {
    assertThrows(() => pages.check([page, wrong]), RangeError, "Cannot use page");
  }
  assertThrows(() => pages.give(other), RangeError, "no sequence has it");
  assertEquals(pages.take(), other);
});

test("attention to a cache refuses pages that nobody has, or too few", () => {
  const store = makePages(), page = store.take();
  const q = { data: new Float32Array(24), shape: [2, 2, 1, 6] };
  const plan = (pages: number[][], lengths: number[]) =>
    readCached(q, { store, pages }, lengths).plan;
  assertThrows(() => plan([[page], [page + 64]], [3, 3]), RangeError, "Cannot use page");
  assertThrows(
    () => plan([[page], [page]], [3, 17]),
    RangeError,
    "Cannot attend: sequence 1 has too few pages for 17 tokens",
  );
  assertEquals(plan([[page], [page]], [16, 3]).keys, 16);
});
