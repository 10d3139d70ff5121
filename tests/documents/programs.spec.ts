import { assertLessOrEqual } from "@std/assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";

/** Lines at most, all but blank ones and comments: two thirds of what the first of their kind took. */
const limits = {
  "encoder.js": 8 + 22,
  "decoder.js": 110,
  "page.html": 32,
  "trainer.js": 81,
  "lesson.js": 43,
};

for (const [name, limit] of Object.entries(limits)) {
  test(`the program ${name} has at most ${limit} lines`, () => {
    const text = readFileSync(`examples/programs/${name}`, "utf8");
    const script = /<script type="module">\n([^]*?)<\/script>/.exec(text)?.[1] ?? text;
    const lines = script.split("\n").filter((line) => !/^\s*(?:\/\/|\/?\*|$)/.test(line));
    assertLessOrEqual(lines.length, limit);
  });
}
