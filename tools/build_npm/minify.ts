/**
 * The package's minified scripts: by esbuild, and once more by terser, whose short names compress
 * better: 2 % less of all, of the scripts alone 3.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { filesOf } from "../bundle_tests.ts";
import { install, versions } from "../install.ts";
import { minified } from "./entries.ts";
import { bundle } from "./scripts.ts";

const chunks = "chunks.min";

/** Bundles what script tags take into a folder, each script beside its chunks. */
export function bundleMinified(folder: string): void {
  bundle(folder, minified, chunks, ["--minify"]);
  const scripts = minified.map(({ name }) => join(folder, `${name}.js`));
  for (const path of [...scripts, ...filesOf(join(folder, chunks), ".js")]) shorten(path);
}

/** Minifies a module in place; what it exports keeps its name, and so does every property. */
function shorten(path: string): void {
  const terser = join(install("terser", [`terser@${versions.terser}`]), ".bin", "terser");
  const { status } = spawnSync(terser, [
    ...[path, "--output", path, "--module", "--ecma", "2022"],
    ...["--compress", "passes=3,lhs_constants=false", "--mangle"],
  ], { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`Cannot minify ${path}`);
}
