/**
 * The switches of checks, imported by the sources of a copy that `deno task mutate` makes. Which one
 * is off is an argument of the process, `--mutant=NUMBER`; which ones refused something in which
 * test file is written to a file, `--record=FILE`.
 *
 * @module
 */

import { appendFileSync } from "node:fs";
import process from "node:process";

function argument(name: string): string | undefined {
  const start = `--${name}=`;
  return process.argv.find((given) => given.startsWith(start))?.slice(start.length);
}

const off = Number(argument("mutant") ?? NaN), record = argument("record");
const seen = new Set<number>();

/** Notes that a check refused something, and when in the life of the test file. */
export function refused(id: number): void {
  if (record === undefined || seen.has(id)) return;
  seen.add(id);
  const line = { id, test: process.argv[1], milliseconds: performance.now() };
  appendFileSync(record, JSON.stringify(line) + "\n");
}

/** Whether a `throw` that was reached throws. */
export function keeps(id: number): boolean {
  refused(id);
  return id !== off;
}

/** Whether a check is called. */
export function calls(id: number): boolean {
  return id !== off;
}

/** A part of a condition under which something is refused. */
export function refuses(id: number, value: unknown): boolean {
  if (value) refused(id);
  return id !== off && Boolean(value);
}

/** A part of a condition under which something passes. */
export function passes(id: number, value: unknown): boolean {
  if (!value) refused(id);
  return id === off || Boolean(value);
}
