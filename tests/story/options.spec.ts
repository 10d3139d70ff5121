import { test } from "node:test";
import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../examples/llama/error.ts";
import { parseOptions } from "../../examples/story/options.ts";

function refuses(args: string[], message: string): void {
  assertThrows(() => parseOptions(args), InputError, message);
}

test("parseOptions() has a default for everything", () => {
  assertEquals(parseOptions([]), {
    ...{ n: 1024, d: 64, m: 32768 },
    ...{ serve: false, port: 8766, help: false },
  });
});

test("parseOptions() reads options after the -- that deno task hands on", () => {
  const options = parseOptions(["--", "--n", "9", "--d=3", "--m", "21", "--serve", "--port=0"]);
  assertEquals(options, { n: 9, d: 3, m: 21, serve: true, port: 0, help: false });
});

test("parseOptions() refuses impossible values by name", () => {
  for (const name of ["n", "d", "m"]) {
    for (const value of ["0", "-1", "1.5", "", "x", "1e3", "9".repeat(20)]) {
      refuses([`--${name}=${value}`], `Expected --${name} to be a whole number >= 1, got`);
    }
  }
  for (const value of ["-1", "65536", "", "x"]) {
    refuses(["--serve", `--port=${value}`], "Expected --port to be a number from 0 to 65535, got");
  }
});

test("parseOptions() refuses sizes that cannot be counted, and says what to do", () => {
  refuses(["--n=1449"], "at most 134217728 is counted in seconds: take a smaller N or d");
  refuses(["--m=447"], "A fast memory of M = 447 numbers does not hold");
  refuses(["--m=447"], "take M >= 448");
  assertEquals(parseOptions(["--m=448", "--n=1448"]).m, 448);
});

test("parseOptions() refuses a port where nothing is served", () => {
  refuses(["--port=9000"], "Expected --serve where there is --port");
});

test("parseOptions() refuses unknown options, missing values and what is no option", () => {
  refuses(["--colour"], "--help shows the options");
  refuses(["--n"], "--help shows the options");
  refuses(["512"], "--help shows the options");
  refuses(["--help=yes"], "--help shows the options");
});
