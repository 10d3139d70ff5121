import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../examples/llama/error.ts";
import { parseOptions } from "../../examples/train/options.ts";

function refuses(args: string[], message: string): void {
  assertThrows(() => parseOptions(args), InputError, message);
}

test("parseOptions() has a default for everything", () => {
  assertEquals(parseOptions([]), {
    ...{ text: undefined, config: undefined, out: undefined, resume: false, help: false },
    ...{ steps: 400, batch: 4, rate: 0.003, seed: 1 },
  });
});

test("parseOptions() reads options after the -- that deno task hands on", () => {
  const options = parseOptions(["--", "--steps", "9", "--rate=1e-3", "--out", "a b", "--text=t"]);
  assertEquals([options.steps, options.rate, options.out, options.text], [9, 1e-3, "a b", "t"]);
});

test("parseOptions() refuses impossible values by name", () => {
  for (const value of ["0", "-1", "1.5", "", "x", "1e3"]) {
    refuses([`--steps=${value}`], "Expected --steps to be a whole number >= 1");
    refuses([`--batch=${value}`], "Expected --batch to be a whole number >= 1");
  }
  for (const value of ["0", "-0.1", "", "fast", "NaN", "Infinity"]) {
    refuses([`--rate=${value}`], `Expected --rate to be a number > 0, got "${value}"`);
  }
  refuses(["--seed=4294967296"], "Expected --seed to be a whole number from 0 to 4294967295");
});

test("parseOptions() refuses unknown options, missing values and what is no option", () => {
  refuses(["--colour"], "--help shows the options");
  refuses(["--steps"], "--help shows the options");
  refuses(["text.txt"], "--help shows the options");
});
