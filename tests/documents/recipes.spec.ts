import * as library from "@flashtile/attention";
import { assert, assertEquals } from "@std/assert";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { gpuTest } from "../support/device.ts";
import { findGpu } from "../support/gpu.ts";

const folder = "docs/recipes/";
const pages = readdirSync(folder).filter((file) => file !== "README.md").sort();

test("the index of recipes has each page, and each page a program", () => {
  const index = readFileSync(`${folder}README.md`, "utf8");
  const linked = Array.from(index.matchAll(/\]\(([\w-]+\.md)\)/g), ([, page]) => page);
  assertEquals(linked.sort(), pages);
  for (const page of pages) {
    assert(/^```js( ignore)?$/m.test(readFileSync(folder + page, "utf8")), page);
  }
});

/** A program as a function of what it imports, of WebGPU's way in, and of a console. */
function functionOf(program: string): (...given: unknown[]) => Promise<void> {
  const body = program.replace(/^import \{(.*)\} from .*;$/m, "const {$1} = library;");
  return new Function(
    "library",
    "navigator",
    "console",
    `return (async () => {${body}})();`,
  ) as never;
}

gpuTest("the program of docs/recipes/gpu-buffers.md prints what it says", async () => {
  const page = readFileSync(`${folder}gpu-buffers.md`, "utf8");
  const [, program] = /^```js ignore\n([^]*?)^```$/m.exec(page)!;
  const printed: string[] = [];
  const console = { log: (...values: unknown[]) => printed.push(values.map(textOf).join(" ")) };
  await functionOf(program)(library, { gpu: await findGpu() }, console);
  const said = Array.from(program.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm), ([, text]) => text);
  assertEquals(printed, said);
  assertEquals(said.length, 2);
});

function textOf(value: unknown): string {
  return Array.isArray(value) ? `[${value.join(", ")}]` : String(value);
}
