/**
 * The scripts of the package: ES modules by esbuild, which share chunks.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { filesOf } from "../bundle_tests.ts";
import { install, versions } from "../install.ts";
import { type Entry, lazy } from "./entries.ts";
import { renamed } from "./rename.ts";

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
    ...["--external:*.wasm", "--external:*.wasm?module", "--chunk-names=chunks/[name]-[hash]"],
    // Who downloads a script pays for its size each time: its binaries are packed.
    "--define:FLASHTILE_PACKED=true",
    ...[`--outdir=${folder}`, "--log-level=warning", ...flags],
  ], { cwd: root, stdio: "inherit" });
  if (status !== 0) throw new Error("Cannot bundle the package's scripts");
  guardNamespaces(folder);
  renameComments(folder);
}

/** Has what esbuild leaves of comments, those of classes, name the package as npm does. */
function renameComments(folder: string): void {
  for (const file of filesOf(folder, ".js")) {
    const text = readFileSync(file, "utf8"), own = renamed(text);
    if (own !== text) writeFileSync(file, own);
  }
}

/** How esbuild makes the object that stands for a module's exports. */
const namespace_ =
  /for \(var name in all\)(\s+)__defProp\(target, name, \{ get: all\[name\], enumerable: (?:true|!0) \}\);/;

/**
 * Makes modules load where a script has given all objects a property: esbuild would take that for one
 * more export, and for a part of each property's description.
 */
function guardNamespaces(folder: string): void {
  for (const file of filesOf(folder, ".js")) {
    const text = readFileSync(file, "utf8");
    if (!text.includes("var __export =")) continue;
    const safe = text.replace(
      namespace_,
      "for (var name of Object.keys(all))$1" +
        "__defProp(target, name, { __proto__: null, get: all[name], enumerable: true });",
    );
    if (safe === text) {
      throw new Error("Cannot bundle: esbuild makes namespaces in another way now");
    }
    writeFileSync(file, safe);
  }
}
