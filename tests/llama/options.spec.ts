import { test } from "node:test";
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../examples/llama/error.ts";
import { parseOptions, usage } from "../../examples/llama/options.ts";

function refuses(args: string[], message: string): void {
  assertThrows(() => parseOptions(args), InputError, message);
}

test("parseOptions() has a default for everything", () => {
  assertEquals(parseOptions([]), {
    prompts: ["In the beginning"],
    tokens: undefined,
    kv: "f32",
    temperature: 0,
    topK: 40,
    seed: 1,
    model: undefined,
    help: false,
  });
});

test("parseOptions() reads options after the -- that deno task hands on", () => {
  const options = parseOptions(["--", "The king", "--tokens", "9", "--temperature=0.5"]);
  assertEquals([options.prompts, options.tokens, options.temperature], [["The king"], 9, 0.5]);
  assertEquals(parseOptions(["--", "--seed", "0", "--", "--x"]).prompts, ["--x"]);
});

test("parseOptions() takes several prompts and refuses an empty one", () => {
  assertEquals(parseOptions(["one", "--seed=2", "two"]).prompts, ["one", "two"]);
  refuses([""], "Expected prompts of at least one byte, got an empty one");
  refuses(["And", ""], "Expected prompts of at least one byte, got an empty one");
});

test("parseOptions() takes every storage of the library's KV caches", () => {
  for (const kv of ["f32", "f16", "bf16", "int8", "int4"] as const) {
    assertEquals(parseOptions(["--kv", kv]).kv, kv);
    assertStringIncludes(usage, kv);
  }
  refuses(["--kv=f8"], "Expected --kv to be one of f32, f16, bf16, int8, int4, got");
  refuses(["--kv=toString"], 'got "toString"');
});

test("parseOptions() refuses impossible values by name", () => {
  for (const value of ["0", "-1", "1.5", "", "x", "1e3"]) {
    refuses([`--tokens=${value}`], `Expected --tokens to be a whole number >= 1`);
  }
  refuses(["--top-k=257"], 'Expected --top-k to be a whole number from 1 to 256, got "257"');
  refuses(["--seed=4294967296"], "Expected --seed to be a whole number from 0 to 4294967295");
  for (const value of ["-0.1", "", "hot", "NaN", "Infinity"]) {
    refuses([`--temperature=${value}`], `Expected --temperature to be a number >= 0`);
  }
});

test("parseOptions() refuses unknown options and missing values", () => {
  refuses(["--colour"], "--help shows the options");
  refuses(["--tokens"], "--help shows the options");
  refuses(["--help=yes"], "--help shows the options");
});
