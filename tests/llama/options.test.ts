import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../examples/llama/error.ts";
import { parseOptions } from "../../examples/llama/options.ts";

function refuses(args: string[], message: string): void {
  assertThrows(() => parseOptions(args), InputError, message);
}

test("parseOptions() has a default for everything", () => {
  assertEquals(parseOptions([]), {
    prompt: "And it came to pass",
    tokens: 160,
    temperature: 0,
    topK: 40,
    seed: 1,
    model: undefined,
    help: false,
  });
});

test("parseOptions() reads options after the -- that deno task hands on", () => {
  const options = parseOptions(["--", "The king", "--tokens", "9", "--temperature=0.5"]);
  assertEquals([options.prompt, options.tokens, options.temperature], ["The king", 9, 0.5]);
  assertEquals(parseOptions(["--", "--seed", "0", "--", "--x"]).prompt, "--x");
});

test("parseOptions() refuses a missing prompt and several prompts", () => {
  refuses([""], "Expected a prompt of at least one byte, got none");
  refuses(["And", "it"], "Expected one prompt, got 2 words: put the prompt in quotes");
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
