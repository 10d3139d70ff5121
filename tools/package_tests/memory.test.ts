/**
 * The package on systems that reserve little memory, as `ulimit -v` makes one.
 *
 * @module
 */

import { assertMatch } from "@std/assert";
import { test } from "node:test";
import { runtimeProgram, versions } from "../install.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";
import { writeProgram } from "./script.ts";

const project = makeProject("memory");
const program = writeProgram(project, "memory_check");

/** What the program prints where a process may reserve so many GiB of addresses. */
function runWithin(gibibytes: number, command: string): string {
  const limit = `ulimit -v ${gibibytes * 1024 * 1024} && exec "$@"`;
  return runIn(project, ["sh", "-c", limit, "sh", command, program]).stdout;
}

const bun = runtimeProgram("bun", versions.bun), node = runtimeProgram("node", versions.node20);

test("a shared memory is smaller where Bun can reserve no 4 GiB", () => {
  assertMatch(runWithin(6, bun), /^1 on simd binary, \d+ threads, at most \d+ MiB of memory: /);
});

test("an engine says what there is no memory for, where V8 can reserve none", () => {
  // It reserves 8 GiB around each, however small.
  assertMatch(
    runWithin(6, node),
    /^BackendUnavailableError: .* the system reserves no memory of 4095 MiB or less$/m,
  );
});
