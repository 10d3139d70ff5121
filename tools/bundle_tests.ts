/**
 * Bundles the tests for what does not run them as they are: Node 20 does not read TypeScript, only
 * Deno reads the import map, and a page has no `node:test`.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { install, versions } from "./install.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

/** This folder, which the import map lies in and speaks of. */
const tools = new URL(".", import.meta.url);

/** Files of a folder and of those in it. */
export function filesOf(folder: string, suffix: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(suffix))
    .map((file) => join(folder, file))
    .sort();
}

/** What names in imports stand for. */
function readImports(): Record<string, string> {
  return JSON.parse(readFileSync(new URL("import_map.json", tools), "utf8")).imports;
}

/** A package of the import map with its version, as `npm install` names it. */
export function pinned(name: string): string {
  const target = readImports()[name];
  if (target?.startsWith("npm:")) return target.slice("npm:".length);
  throw new Error(`Cannot find ${name} among the packages of tools/import_map.json`);
}

/** Packages that no bundle has: adapters are typed by them, and called by tests of the packages, on Deno. */
const unbundled = ["@ai-sdk/provider", "@langchain/core", "ai"];

/** Packages of the import map, as `npm install` and as a bundler's alias name them. */
function importMap(): { packages: string[]; aliases: string[] } {
  const imports = readImports();
  const packages = new Set<string>(), aliases: string[] = [];
  for (const [name, target] of Object.entries(imports)) {
    const [, spec, path = ""] = target.match(/^npm:((?:@[^/]+\/)?[^/@]+@[^/]+)(\/.*)?$/) ?? [];
    if (spec === undefined) {
      aliases.push(`--alias:${name}=${fileURLToPath(new URL(target, tools))}`);
    } else {
      const found = spec.replace(/@[^@]+$/, "");
      if (unbundled.includes(found)) continue;
      packages.add(spec);
      aliases.push(`--alias:${name}=${found}${path}`);
    }
  }
  return { packages: [...packages], aliases };
}

/** Bundles files into `folder`, unless that is there. */
function bundle(folder: string, files: readonly string[], flags: readonly string[]): string {
  if (existsSync(folder)) return folder;
  const { packages, aliases } = importMap();
  const modules = install("bundling", [`esbuild@${versions.esbuild}`, ...packages]);
  const { status } = spawnSync(join(modules, ".bin", "esbuild"), [
    ...files,
    ...["--bundle", "--format=esm", "--log-level=warning", `--outdir=${folder}`, ...aliases],
    ...["--sourcemap=inline", "--sources-content=false", ...flags],
  ], { cwd: root, stdio: "inherit", env: { ...process.env, NODE_PATH: modules } });
  if (status !== 0) throw new Error("Cannot bundle the tests");
  return folder;
}

/** Packages in CommonJS ask for what is built in by `require`, which a module has to make. */
const requireForNode = 'import { createRequire as makeRequire } from "node:module"; ' +
  "const require = makeRequire(import.meta.url);";

/** Bundles every test file and script of `tests/` by itself, for Node and Bun; returns where. */
export function bundleForNode(folder: string): string {
  return bundle(join(folder, "node"), [
    ...filesOf("tests", ".test.ts"),
    ...filesOf("tests/runtime", ".ts"),
  ], [
    ...["--platform=node", "--target=node20", "--out-extension:.js=.mjs", "--outbase=tests"],
    `--banner:js=${requireForNode}`,
  ]);
}

/** Bundles scripts of tools, each by itself, for Node and Bun; returns where. */
export function bundleScripts(folder: string, scripts: readonly string[]): string {
  return bundle(folder, scripts, [
    ...["--platform=node", "--target=node20", "--out-extension:.js=.mjs", "--outbase=tools"],
    `--banner:js=${requireForNode}`,
  ]);
}

/** Bundles a page's script with the library; returns where. */
export function bundlePage(folder: string, script: string): string {
  return bundle(folder, [script], ["--platform=browser", "--target=es2023"]);
}

/** What the package is imported as, and by which names a page finds that. */
export type PackageNames = Readonly<Record<string, string>>;

/** Bundles a page's script that imports the package, or parts of it, by these names. */
export function bundleForPackage(folder: string, script: string, names: PackageNames): string {
  return bundle(folder, [script], [
    ...["--platform=browser", "--target=es2023", "--sources-content=true"],
    ...Object.entries(names).flatMap(([name, found]) => [
      `--alias:${name}=${found}`,
      `--external:${found}`,
    ]),
  ]);
}

/** Bundles the same as a classic script that has the package as a global; returns the script. */
export function bundleOverGlobal(folder: string, script: string): string {
  const bundled = bundle(folder, [script], [
    ...["--platform=browser", "--target=es2023", "--format=iife"],
    `--alias:@flashtile/attention=${join(root, "tools/browser_package/global.ts")}`,
  ]);
  return filesOf(bundled, ".js")[0];
}

/** Bundles test files, and the page's part of their runner; returns where. */
export function bundleForBrowser(folder: string, tests: readonly string[]): string {
  return bundle(join(folder, "browser"), [
    ...[...tests, "tools/browser_tests/page.ts"],
  ], [
    // Split, so that the tests register where the page looks for them.
    ...["--platform=browser", "--target=es2023", "--splitting", "--outbase=."],
    `--alias:node:test=${join(root, "tools/browser_tests/node_test.ts")}`,
  ]);
}
