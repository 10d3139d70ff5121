import { assert, assertEquals } from "@std/assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { hintOf } from "../../src/check/hints.ts";
import { generateErrors } from "../../tools/draw_errors.ts";

test("each wrong guess gets the error that docs/ERRORS.md shows", async () => {
  const page = readFileSync("docs/ERRORS.md", "utf8");
  assertEquals((await generateErrors())["docs/ERRORS.md"], page);
  assert(page.match(/^ {4}\w+Error: /gm)!.length >= 40);
});

const known = ["causal", "scale", "mask", "bias", "lse", "kvLengths"];

test("hintOf() names what is known, and that alone", () => {
  assertEquals(hintOf("is_causal", ["scale"]), "");
  assertEquals(hintOf("softmax_scale", known), "; did you mean `scale`?");
  assertEquals(hintOf("softmax_scale", ["causal"]), "");
  assertEquals(hintOf("num_kv_heads", ["kvHeads"]), "; did you mean `kvHeads`?");
  assertEquals(hintOf("num_heads", ["heads"]), "; did you mean `heads`?");
  // Of all objects.
  for (const name of ["__proto__", "constructor", "toString"]) {
    assertEquals(hintOf(name, known), "");
  }
});

test("hintOf() knows names by other cases and lines, and misspelt ones", () => {
  for (const name of ["kv_lengths", "KV-LENGTHS", "kvlengths", "kvLenghts", "kvLength"]) {
    assertEquals(hintOf(name, known), "; did you mean `kvLengths`?");
  }
  assertEquals(hintOf("casual", known), "; did you mean `causal`?");
  assertEquals(hintOf("scales", known), "; did you mean `scale`?");
  assertEquals(hintOf("mas", known), "; did you mean `mask`?");
});

test("hintOf() finds names within others, unless it is by chance", () => {
  assertEquals(hintOf("attention_bias_values", known), "; did you mean `bias`?");
  assertEquals(hintOf("lengths", known), "; did you mean `kvLengths`?");
  assertEquals(hintOf("out", ["layout"]), "");
});

test("hintOf() does not guess where nothing is near", () => {
  for (const name of ["", "x", "is", "height", "url", "a".repeat(1e6)]) {
    assertEquals(hintOf(name, known), "", name.slice(0, 20));
  }
});
