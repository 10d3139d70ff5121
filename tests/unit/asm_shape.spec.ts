import { assert, assertEquals } from "@std/assert";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

/** Sources of the kernels. */
const sources = readdirSync("asm", { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => [file, readFileSync(`asm/${file}`, "utf8")] as const);

/** Functions and methods of a source, with how many parameters each has. */
function functionsOf(source: string): [name: string, parameters: number][] {
  const head = /^(?:export )?function (\w+)(?:<[^>]*>)?\(([^)]*)\)|^ {2}(\w+)\(([^)]*)\): /gm;
  return [...source.matchAll(head)].map(([, name, parameters, method, ofMethod]) => {
    const list = (parameters ?? ofMethod).split(",").filter((parameter) => parameter.trim());
    return [name ?? method, list.length];
  });
}

test("no function of the kernels has more than 6 parameters", () => {
  const all = sources.flatMap(([file, source]) =>
    functionsOf(source).map(([name, count]) => [`${file}: ${name}()`, count] as const)
  );
  assert(all.length > 150, `found ${all.length} functions`);
  assertEquals(all.filter(([, count]) => count > 6), []);
});

test("asm/forward.ts is algorithm 1, in at most 220 lines", () => {
  const lines = readFileSync("asm/forward.ts", "utf8").trimEnd().split("\n").length;
  assert(lines <= 220, `${lines} lines`);
});
