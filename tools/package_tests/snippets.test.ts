/**
 * What documents show runs as it stands, with the package as npm installs it, on the oldest of each
 * runtime: plain JavaScript, a process for each.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { runtimeProgram, versions } from "../install.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";
import {
  blocks,
  documented,
  printedBy,
  type Snippet,
  snippetsOf,
  withoutBlanks,
} from "./snippets.ts";

/** The oldest that the README's table names. */
const runtimes = {
  [`Node ${versions.node20}`]: [runtimeProgram("node", versions.node20)],
  [`Bun ${versions.bun}`]: [runtimeProgram("bun", versions.bun), "run"],
  [`Deno ${Deno.version.deno}`]: [process.execPath, "run", "--no-prompt"],
};
const [oldest] = Object.keys(runtimes);

const project = makeProject("snippets");
// What programs of models read.
const model = "examples/llama/model";
cpSync(fileURLToPath(new URL(`../../${model}`, import.meta.url)), join(project, model), {
  recursive: true,
});

/** Writes a snippet as a program of the project; returns its name. */
function writeSnippet({ place, code }: Snippet): string {
  const name = `${place.replace(/\W+/g, "_")}.js`;
  writeFileSync(join(project, name), code);
  return name;
}

/** Documents whose programs print exactly what stands behind their lines. */
const exact = /^docs\/(?:recipes\/|COMING_FROM)/;

function testSnippet(snippet: Snippet, runtime: string): void {
  test(`${snippet.place} runs on ${runtime}`, () => {
    const { stdout } = runIn(project, [...runtimes[runtime], writeSnippet(snippet)]);
    if (exact.test(snippet.place)) assertEquals(withoutBlanks(stdout), printedBy(snippet.code));
  });
}

for (const snippet of documented.readme.filter(({ ignored }) => !ignored)) {
  for (const runtime of Object.keys(runtimes)) testSnippet(snippet, runtime);
}

const others = [...documented.docs, ...documented.source];
for (const snippet of others.filter(({ ignored }) => !ignored)) testSnippet(snippet, oldest);

for (const snippet of [...documented.readme, ...others].filter(({ ignored }) => ignored)) {
  test(`${snippet.place} is JavaScript for ${oldest}`, () => {
    runIn(project, [...runtimes[oldest], "--check", writeSnippet(snippet)]);
  });
}

test("snippetsOf() finds the programs of a document and of comments", () => {
  const text = [
    ...["# Title", "", "```js", 'import "@flashtile/attention";', "", "  f();", "```", ""],
    ...["```sh", "ls", "```", "", "```ts ignore", "g();", "```", ""],
    ...["  /**", "   * ```js", "   * h();", "   *", "   *   i();", "   * ```", "   */"],
  ];
  assertEquals(snippetsOf("a.md", text.join("\n")), [
    { place: "a.md:3", code: 'import "flashtile";\n\n  f();\n', ignored: false },
    { place: "a.md:13", code: "g();\n", ignored: true },
    { place: "a.md:18", code: "h();\n\n  i();\n", ignored: false },
  ]);
});

test("printedBy() finds what stands behind lines that print", () => {
  const code = 'console.log(a.map((x) => x), "b"); // [1, 2] b\nf(); // c\nconsole.log(d);\n';
  assertEquals(printedBy(code), "[1,2]b");
});

test("documents have no other blocks than these, commands and drawings", () => {
  const { readme, docs, source } = documented;
  assertEquals(readme.length + docs.length + source.length, blocks(["html", "sh", "text"]));
});
