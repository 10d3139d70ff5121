/**
 * Stands for `node:test` in a page: keeps the tests that a module registers until they are run.
 *
 * @module
 */

type Run = () => void | Promise<void>;

/** What of a test's options is used here. */
interface TestOptions {
  /** Why it is not run. */
  readonly skip?: string;
}

/** A registered test. */
export interface RegisteredTest extends TestOptions {
  readonly name: string;
  readonly run: Run;
}

/** Every test so far, in order. */
export const registered: RegisteredTest[] = [];

/** Registers a test. */
export function test(name: string, ...rest: [Run] | [TestOptions, Run]): void {
  const [{ skip }, run] = rest.length === 1 ? [{} as TestOptions, rest[0]] : rest;
  registered.push({ name, skip, run });
}
