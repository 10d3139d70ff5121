/**
 * In the page: loads a bundled test file and runs its tests, one after another.
 *
 * @module
 */

import { registered, type RegisteredTest } from "./node_test.ts";

/** How a test ended. */
export interface Result {
  readonly name: string;
  readonly seconds: number;
  readonly skipped?: string;
  readonly error?: string;
}

/** An error with its causes, which is where fast-check puts what failed. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : `\nCaused by ${describe(error.cause)}`;
  return `${error.stack ?? error}${cause}`;
}

async function resultOf({ name, skip, run }: RegisteredTest): Promise<Result> {
  if (skip !== undefined) return { name, seconds: 0, skipped: skip };
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  try {
    await run();
    return { name, seconds: seconds() };
  } catch (error) {
    return { name, seconds: seconds(), error: describe(error) };
  }
}

/** Whoever opened the page, as seen from it. */
export interface Opener {
  begin(name: string): Promise<void>;
  end(result: Result): Promise<void>;
}

/** Runs the tests of a file whose names match, and tells of each when it begins and ends. */
export async function runTests(file: string, names: string, opener: Opener): Promise<void> {
  await import(file);
  const wanted = new RegExp(names);
  for (const test of registered.filter(({ name }) => wanted.test(name))) {
    await opener.begin(test.name);
    await opener.end(await resultOf(test));
  }
}
