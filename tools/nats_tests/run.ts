/**
 * Sharded caches over a real server as a run of `deno task test:all`.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { type TestRun, toolTests } from "../test_runs.ts";

/** Starts servers and shards on this machine, and has everything happen to them that can. */
export function natsRun(): TestRun {
  const folder = fileURLToPath(new URL(".", import.meta.url));
  return {
    name: "NATS, shards on Deno, Node and Bun",
    patience: 1800,
    // Most of their time they wait: for heartbeats, for processes, for pauses to end.
    tests: (report) =>
      toolTests(report, folder, { DENO_WEBGPU_BACKEND: "none", DENO_JOBS: "4" }, ["--parallel"]),
  };
}
