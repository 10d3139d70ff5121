/**
 * `deno task generated`: builds every generated file anew and fails when one differs from what is committed.
 *
 * @module
 */

import "./help.ts";
import { readFile } from "node:fs/promises";
import process from "node:process";
import { generate } from "./build.ts";

const root = new URL("..", import.meta.url);

async function isStale([path, text]: [string, string]): Promise<boolean> {
  return await readFile(new URL(path, root), "utf8").catch(() => "") !== text;
}

const files = Object.entries(await generate());
const stale = await Promise.all(files.map(isStale));
const paths = files.map(([path]) => path).filter((_, index) => stale[index]);
if (paths.length > 0) {
  console.error(`error: stale, run \`deno task build\`: ${paths.join(", ")}`);
  process.exitCode = 1;
} else {
  console.log(`${files.length} generated files are as their sources make them`);
}
