/**
 * Running a bench on another runtime: bundled into one file, since only Deno reads the import map.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { locked } from "../tools/install.ts";

/** Bundles a script of this project into `folder`; returns the file. */
export function bundleInto(
  folder: string,
  script: string,
  platform: "deno" | "browser" = "deno",
): string {
  const file = join(folder, "bundle.mjs");
  const { status, stderr } = spawnSync(process.execPath, [
    ...["bundle", "--quiet", locked, "--platform", platform, script, "-o", file],
    ...["--external", "bun:*", "--external", "@mitata/*"], // Imported where they exist.
  ], { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot bundle ${script}:\n${stderr}`);
  return file;
}

/** Runs a script of this project by another program; returns its exit code. */
export function runElsewhere(program: string, script: string, args: readonly string[]): number {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-bench-"));
  try {
    const file = bundleInto(folder, script);
    return spawnSync(program, [file, ...args], { stdio: "inherit" }).status ?? 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}
