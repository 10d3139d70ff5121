/**
 * Cuts scripts anew that esbuild has made of the source: it shares by which entries need a module, which
 * makes many small ones.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { install, versions } from "../install.ts";
import { entries, type Entry, globalName, patterns, type single, slopes } from "./entries.ts";
import { bundle } from "./scripts.ts";

/** Runs a tool of the build. */
export function runTool(
  tool: "esbuild" | "rollup" | "terser",
  version: string,
  args: readonly string[],
): void {
  const program = join(install(tool, [`${tool}@${version}`]), ".bin", tool);
  const { status } = spawnSync(program, [...args], { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`Cannot build the package: ${tool} failed`);
}

/** A configuration of rollup in this folder. */
export type CutName = "chunks.config.mjs" | "rollup.config.mjs";

/** Cuts bundled scripts into those that are loaded together. */
export function cut(config: CutName, scripts: readonly Entry[], from: string, to: string): void {
  const path = fileURLToPath(new URL(config, import.meta.url));
  const inputs = scripts.map(({ name }) => `--input=${name}=${join(from, `${name}.js`)}`);
  runTool("rollup", versions.rollup, [
    ...["--config", path, ...inputs, `--dir=${to}`, "--format=es", "--silent"],
  ]);
}

/** Joins a bundled script and all that it loads later. */
export function joinAll(
  entry: Entry,
  { name, format }: (typeof single)[number],
  from: string,
  to: string,
): void {
  const config = fileURLToPath(new URL("rollup.config.mjs", import.meta.url));
  runTool("rollup", versions.rollup, [
    ...["--config", config, `--input=${join(from, `${entry.name}.js`)}`],
    ...["--configSingle", `--file=${join(to, `${name}.js`)}`],
    ...[`--format=${format}`, `--name=${globalName}`, "--silent"],
  ]);
}

/** Bundles what `exports` points to into a folder. */
export function bundleEntries(folder: string): void {
  const plain = mkdtempSync(join(tmpdir(), "flashtile-plain-"));
  try {
    bundle(plain, [...entries, patterns, slopes], [`--external:./${patterns.source}`]);
    cut("chunks.config.mjs", [...entries, patterns], plain, folder);
  } finally {
    rmSync(plain, { recursive: true });
  }
}
