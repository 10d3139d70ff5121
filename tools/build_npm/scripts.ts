/**
 * The scripts of the package: ES modules by esbuild, which share chunks.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { install, versions } from "../install.ts";
import { type Entry, lazy } from "./entries.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Bundles scripts into `folder`, with what they share and load later in its folder `chunks`. */
export function bundle(
  folder: string,
  scripts: readonly Entry[],
  flags: readonly string[] = [],
): void {
  const later = lazy.map(({ name, source }) => ({ name: `chunks/${name}`, source }));
  const modules = install("esbuild", [`esbuild@${versions.esbuild}`]);
  const { status } = spawnSync(join(modules, ".bin", "esbuild"), [
    ...[...scripts, ...later].map(({ name, source }) => `${name}=${source}`),
    ...["--bundle", "--splitting", "--format=esm", "--platform=neutral", "--target=es2022"],
    // A binary is imported by what can: its host gives the module.
    ...["--external:*.wasm", "--chunk-names=chunks/[name]-[hash]"],
    ...[`--outdir=${folder}`, "--log-level=warning", ...flags],
  ], { cwd: root, stdio: "inherit" });
  if (status !== 0) throw new Error("Cannot bundle the package's scripts");
}
