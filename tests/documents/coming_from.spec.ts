import { assert, assertEquals } from "@std/assert";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

/** What is public, all exports. */
const surface = readdirSync("tests/surface")
  .map((file) => readFileSync(`tests/surface/${file}`, "utf8")).join("\n");

/** Rows of the page's table, the code in each cell. */
const rows = readFileSync("docs/COMING_FROM.md", "utf8").split("\n")
  .filter((line) => line.startsWith("| `"))
  .map((line) =>
    line.split("|").slice(1, -1).map((cell) =>
      Array.from(cell.matchAll(/`([^`]+)`/g), ([, code]) => code)
    )
  );
const ours = rows.flatMap(([cell]) => cell).filter((code) => code !== "null");

/** Names in an expression: what is called, what is an option, and words in quotes. */
function namesIn(code: string): { calls: string[]; options: string[]; words: string[] } {
  const outside = code.replace(/\(.*\)/, "()");
  return {
    calls: Array.from(outside.matchAll(/(\w+)\(/g), ([, name]) => name),
    options: [
      ...Array.from(code.matchAll(/^(\w+)(?=:|$)/g), ([, name]) => name),
      ...Array.from(code.matchAll(/\(\w+, \{ (\w+) \}\)/g), ([, name]) => name),
    ],
    words: Array.from(code.matchAll(/"([\w-]+)"/g), ([, word]) => word),
  };
}

/** Whether the library has a function or a method of this name. */
const hasCall = (name: string) =>
  new RegExp(String.raw`^ *(?:export )?(?:declare )?(?:function )?${name}(?:<|\()`, "m").test(
    surface,
  );
const hasOption = (name: string) => new RegExp(String.raw`\b${name}\??: `).test(surface);
const hasWord = (word: string) => surface.includes(`"${word}"`);

for (const code of ours) {
  test(`${code} of docs/COMING_FROM.md is a name of the library`, () => {
    const { calls, options, words } = namesIn(code);
    assert(calls.length + options.length + words.length > 0, "no name in it");
    assertEquals(calls.filter((name) => !hasCall(name)), []);
    assertEquals(options.filter((name) => !hasOption(name)), []);
    assertEquals(words.filter((word) => !hasWord(word)), []);
  });
}

test("docs/COMING_FROM.md has every option of attention() that says what is computed", () => {
  const [, body] = /interface AttentionOptions .*\{\n([^]*?)\n\}/.exec(surface)!;
  const known = Array.from(body.matchAll(/^ {2}readonly (\w+)/gm), ([, name]) => name);
  const told = new Set(ours.flatMap((code) => [...namesIn(code).options, ...namesIn(code).calls]));
  const missing = known.filter((name) => !told.has(name));
  // How a call runs, and where its result goes; `offset` is told of beside `window`.
  assertEquals(missing, ["offset", "out", "signal", "encoder", "onProgress"]);
});

test("docs/COMING_FROM.md has a column for each library, and a name in it", () => {
  for (const row of rows) assertEquals(row.length, 7);
  for (const column of rows[0]) assert(column.length > 0);
});

test("names that there are not are found", () => {
  assertEquals([hasCall("flexAttention"), hasOption("isCausal"), hasWord("lower-right")], [
    ...[false, false, false],
  ]);
  assertEquals(namesIn('style: "interleaved"'), {
    calls: [],
    options: ["style"],
    words: ["interleaved"],
  });
});
