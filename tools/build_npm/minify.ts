/**
 * The package's minified scripts. esbuild makes scripts of the source; rollup cuts them anew, so that
 * what is loaded from the start is one, which compresses better than the parts of it that others share;
 * esbuild minifies them and terser does it once more, whose short names compress better. Together 4 %
 * less than esbuild alone.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { filesOf } from "../bundle_tests.ts";
import { versions } from "../install.ts";
import { cut, joinAll, runTool } from "./cut.ts";
import { type Entry, minified, single } from "./entries.ts";
import { bundle } from "./scripts.ts";

/** Folder of what the scripts load. */
export const chunks = "chunks.min";

/** The binaries, which are an entry so that they are in a file of their own: see rollup.config.mjs. */
const kernels: Entry = { name: "kernels", source: "src/wasm/binary/binaries.gen.ts" };

/** Bundles what script tags take into a folder, each script beside its chunks. */
export function bundleMinified(folder: string): void {
  const plain = mkdtempSync(join(tmpdir(), "flashtile-plain-"));
  try {
    bundle(plain, [...minified, kernels], ["--minify-syntax"]);
    cut("rollup.config.mjs", minified, plain, folder);
    for (const script of single) joinAll(minified[0], script, plain, folder);
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

/** Bundles a program into a folder as who serves it may do, beside what it loads later. */
export function bundleProgram(folder: string, program: Entry): void {
  const plain = mkdtempSync(join(tmpdir(), "flashtile-plain-"));
  try {
    bundle(plain, [program, kernels], ["--minify-syntax"]);
    cut("rollup.config.mjs", [program], plain, folder);
  } finally {
    rmSync(plain, { recursive: true });
  }
  minify(folder, filesOf(folder, ".js"), ["--format=esm"], ["--module"]);
}

/** Minifies scripts in place. */
function minify(
  folder: string,
  paths: readonly string[],
  esbuild: readonly string[],
  terser: readonly string[],
): void {
  runTool("esbuild", versions.esbuild, [
    ...[...paths, "--minify", ...esbuild, "--target=es2022", "--log-level=warning"],
    ...["--allow-overwrite", `--outdir=${folder}`, `--outbase=${folder}`],
  ]);
  for (const path of paths) shorten(path, terser);
}

/** Minifies a script in place; what it exports keeps its name, and so does every property. */
function shorten(path: string, flags: readonly string[]): void {
  runTool("terser", versions.terser, [
    ...[path, "--output", path, ...flags, "--ecma", "2022"],
    ...["--compress", "passes=3,lhs_constants=false", "--mangle"],
  ]);
}
