/**
 * A checkout on a machine that has none of its packages yet.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { root } from "../test_runs.ts";
import { runIn } from "./child.ts";
import { emptyFolder } from "./folder.ts";

test("deno task demo downloads no package", () => {
  const cache = emptyFolder("deno-dir");
  const { all } = runIn(root, [process.execPath, "task", "demo"], {
    DENO_DIR: cache,
    NPM_CONFIG_REGISTRY: "http://127.0.0.1:9/", // Nobody answers there.
  });
  assert(all.includes("tokens/s"), all);
  const files = readdirSync(cache, { recursive: true, withFileTypes: true, encoding: "utf8" })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => relative(cache, join(parentPath, name)));
  assert(files.some((file) => file.startsWith("gen")), `no cache is in ${cache}`);
  assertEquals(files.filter((file) => /^(?:npm|remote|deps)\b/.test(file)), []);
});

test("every task but the demo takes packages as the lock file has them", () => {
  const { tasks } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as {
    tasks: Record<string, { command: string }>;
  };
  const commands = Object.entries(tasks).filter(([name]) => name !== "demo")
    .flatMap(([, { command }]) => command.split(" && "))
    .filter((command) => /^deno (?:run|test|check)\b/.test(command));
  const unlocked = commands.filter((command) => !command.includes(" --lock=tools/deno.lock"));
  assert(commands.length > 30, `${commands.length} commands`);
  assertEquals(unlocked, []);
});
