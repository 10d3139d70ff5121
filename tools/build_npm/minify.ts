/**
 * The package's minified scripts. esbuild makes scripts of the source; rollup cuts them anew, so that
 * what is loaded from the start is one, which compresses better than the parts of it that others share;
 * esbuild minifies them and terser does it once more, whose short names compress better. Together 4 %
 * less than esbuild alone.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { filesOf } from "../bundle_tests.ts";
import { install, versions } from "../install.ts";
import { type Entry, globalName, minified, single } from "./entries.ts";
import { bundle } from "./scripts.ts";

/** Folder of what the scripts load. */
export const chunks = "chunks.min";

/** The binaries, which are an entry so that they are in a file of their own: see rollup.config.mjs. */
const kernels: Entry = { name: "kernels", source: "src/wasm/binaries.gen.ts" };

/** Bundles what script tags take into a folder, each script beside its chunks. */
export function bundleMinified(folder: string): void {
  const plain = mkdtempSync(join(tmpdir(), "flashtile-plain-"));
  try {
    bundle(plain, [...minified, kernels]);
    cut(plain, folder);
    for (const script of single) joinAll(plain, folder, script);
  } finally {
    rmSync(plain, { recursive: true });
  }
  const scripts = minified.map(({ name }) => join(folder, `${name}.js`));
  const modules = [...scripts, ...filesOf(join(folder, chunks), ".js")], classic: string[] = [];
  for (const { name, format } of single) {
    (format === "es" ? modules : classic).push(join(folder, `${name}.js`));
  }
  minify(folder, modules, ["--format=esm"], ["--module"]);
  minify(folder, classic, [], []);
}

/** Minifies scripts in place. */
function minify(
  folder: string,
  paths: readonly string[],
  esbuild: readonly string[],
  terser: readonly string[],
): void {
  run("esbuild", versions.esbuild, [
    ...[...paths, "--minify", ...esbuild, "--target=es2022", "--log-level=warning"],
    ...["--allow-overwrite", `--outdir=${folder}`, `--outbase=${folder}`],
  ]);
  for (const path of paths) shorten(path, terser);
}

function run(
  tool: "esbuild" | "rollup" | "terser",
  version: string,
  args: readonly string[],
): void {
  const program = join(install(tool, [`${tool}@${version}`]), ".bin", tool);
  const { status } = spawnSync(program, [...args], { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`Cannot minify the package: ${tool} failed`);
}

/** Cuts bundled scripts into those that are loaded together. */
function cut(from: string, to: string): void {
  const config = fileURLToPath(new URL("rollup.config.mjs", import.meta.url));
  const inputs = minified.map(({ name }) => `--input=${name}=${join(from, `${name}.js`)}`);
  run("rollup", versions.rollup, [
    ...["--config", config, ...inputs, `--dir=${to}`, "--format=es", "--silent"],
  ]);
}

/** Joins bundled scripts and all that they load later. */
function joinAll(from: string, to: string, { name, format }: (typeof single)[number]): void {
  const config = fileURLToPath(new URL("rollup.config.mjs", import.meta.url));
  run("rollup", versions.rollup, [
    ...["--config", config, `--input=${join(from, `${minified[0].name}.js`)}`],
    ...["--configSingle", `--file=${join(to, `${name}.js`)}`],
    ...[`--format=${format}`, `--name=${globalName}`, "--silent"],
  ]);
}

/** Minifies a script in place; what it exports keeps its name, and so does every property. */
function shorten(path: string, flags: readonly string[]): void {
  run("terser", versions.terser, [
    ...[path, "--output", path, ...flags, "--ecma", "2022"],
    ...["--compress", "passes=3,lhs_constants=false", "--mangle"],
  ]);
}
