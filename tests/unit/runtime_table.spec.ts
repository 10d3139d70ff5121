import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { nameOf, tablesOf } from "../../tools/runtime_table.ts";

/** Rows of a text's tables, without their titles. */
function rowsOf(text: string): string[][] {
  return text.split("\n").filter((line) => line.startsWith("|"))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
    .filter(([name]) => name !== "runtime" && !/^-+$/.test(name));
}

const node = { binary: "relaxed", threads: true };
const page = { runtime: "Chromium", version: "156.0", group: "pages", binary: "relaxed" };

test("tablesOf() has newer versions first, and all that is known of one in a line", () => {
  const tables = tablesOf([
    { runtime: "Node", version: "20.1.0", ...node, binary: "simd" },
    { ...page, threads: false, isolated: false },
    { ...page, threads: true, isolated: true, webgpu: "its own" },
    { runtime: "Node", version: "26.1.0", ...node, tried: "fake timers" },
  ], [{ runtimes: [nameOf("Node", "26.1.0"), "Chromium"], tried: "the package" }]);
  assertEquals(rowsOf(tables["docs/RUNTIMES.md"]), [
    ["Node 26", "relaxed", "yes", "the package, fake timers"],
    ["Node 20", "simd", "yes", "-"],
    ["Chromium", "relaxed", "in isolated pages", "its own", "the package"],
  ]);
  assertEquals(rowsOf(tables["README.md"]), [
    ["Node 26", "relaxed", "yes", "not tried"],
    ["Node 20", "simd", "yes", "not tried"],
    ["Chromium", "relaxed", "in isolated pages", "its own"],
  ]);
});

test("tablesOf() has a line and a table for a host that nobody has named before, without columns that nobody asked about", () => {
  const tables = tablesOf([
    { runtime: "vitest", version: "4.2.1", group: "test runners", tried: "jsdom" },
    { runtime: "vitest", version: "4.2.1", group: "test runners", tried: "vmThreads" },
    { runtime: "Toaster", version: "", group: "kitchens", binary: "simd", threads: false },
    { runtime: "Deno", version: "2.9.5", ...node },
  ], [{ runtimes: ["Kettle"], group: "kitchens", tried: "tea" }]);
  const titles = tables["docs/RUNTIMES.md"].split("\n").filter((line) => line.startsWith("#"));
  assertEquals(titles, ["## Runtimes", "## Test runners", "## Kitchens"]);
  assertEquals(rowsOf(tables["docs/RUNTIMES.md"]), [
    ["Deno 2.9", "relaxed", "yes"],
    ["vitest 4", "jsdom, vmThreads"],
    ["Toaster", "simd", "no", "-"],
    ["Kettle", "-", "-", "tea"],
  ]);
  assertEquals(rowsOf(tables["README.md"]), [["Deno 2.9", "relaxed", "yes", "not tried"]]);
});
