import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { readFileSync } from "node:fs";
import { helpOf } from "../../tools/help.ts";
import { skippedIn, whySkipped } from "../../tools/skipped.ts";

const tasks = Object.entries<{ description: string; command: string }>(
  JSON.parse(readFileSync("deno.json", "utf8")).tasks,
);

/** Scripts that the tasks run, with the names of these. */
const scripts = new Map(tasks.flatMap(([name, { command }]) =>
  Array.from(
    command.matchAll(/deno run [^&]*?((?:bench|examples|tools)\/\S+\.ts)/g),
    ([, file]) => [file, name] as const,
  )
));

test("every task says in a line what it does", () => {
  for (const [name, { description }] of tasks) {
    assertMatch(description ?? "", /^[`A-Z].{10,85}[^.]$/s, name);
  }
});

test("every script of a task answers --help, with its task's name", () => {
  assert(scripts.size > 45, `${scripts.size} scripts`);
  for (const [file, name] of scripts) {
    const text = readFileSync(file, "utf8");
    if (/^import "[./]+\/(?:tools\/)?help\.ts";$/m.test(text)) {
      // The first import: before it nothing may begin.
      assertMatch(text.match(/^import .*$/m)![0], /help\.ts"/, file);
      assert(text.includes("`deno task "), `${file}: ${name}`);
      assert(helpOf(text).length > 80, file);
    } else {
      const isOwn = /from "\.\/(?:cli|advice)\.ts"/.test(text);
      assert(isOwn, `${file} of ${name} has no --help: import tools/help.ts first`);
    }
  }
});

test("helpOf() gives a program's first comment as plain text", () => {
  const source =
    "/**\n * `deno task x`: does\n * it.\n *\n *     deno task x 3\n *\n * @module\n */\n\nx;";
  assertEquals(helpOf(source), "deno task x: does\nit.\n\n    deno task x 3");
});

test("whySkipped() has a line for each reason, of the skipped tests of a report", () => {
  const report = `<testcase name="a (webgpu)" line="1">\n <skipped/>\n</testcase>
    <testcase name="b" line="1">\n</testcase>
    <testcase name="c (wasm)" line="2">\n <skipped/></testcase>
    <testcase name="d (webgpu, f16)" line="3"><skipped/></testcase>`;
  assertEquals(skippedIn(report), ["a (webgpu)", "c (wasm)", "d (webgpu, f16)"]);
  assertEquals(whySkipped(skippedIn(report)), [
    "Skipped 2: they need a GPU, or a program in its place: deno task test:gpu",
    "Skipped 1: they take long, or are about other runtimes or other models: deno task test:all",
  ]);
  assertEquals(whySkipped([]), []);
});
