/**
 * Whether a runtime's results are right, and what else it told.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Finding } from "../runtime_table.ts";
import type { Checked } from "./check.ts";

/** Largest error of a right result of these shapes, by its largest number; it is some 5e-7. */
const tolerance = 2e-6;

/** Asserts that all results are as the oracle's; of what has programs of its own, what else is said of it. */
export function expectRight({ errors, rows, functions }: Checked, ofLate = /^right$/): void {
  assertMatch(rows, ofLate);
  assertMatch(functions, ofLate);
  const entries = Object.entries(errors);
  assertEquals(entries.length, 7);
  // Without `<=`, NaN would pass.
  for (const [name, error] of entries) assert(error <= tolerance, `${name}: wrong by ${error}`);
}

/** What the README's table says of a runtime. */
export function findingOf(runtime: string, version: string, { offered }: Checked): Finding {
  const { wasm, threads } = offered;
  return { runtime, version, binary: `${wasm.binary}`, threads: threads.available };
}
