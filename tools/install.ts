/**
 * Runtimes and packages that are not the project's own: installed once, each into a folder of its own
 * in the system's temporary directory, never into the tree.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** What the tests and benches run on beside Deno, what bundles, and what checks the packages. */
export const versions = {
  bun: "1.4.5",
  node20: "20.20.2",
  node22: "22.23.3",
  node26: "26.10.0",
  esbuild: "0.28.2",
  terser: "5.51.2",
  vite: "8.3.8",
  vite7: "7.3.8",
  vite6: "6.4.6",
  vite5: "5.4.21",
  rollup: "4.68.7",
  rollupNodeResolve: "16.0.3",
  webpack: "5.112.2",
  webpackCli: "7.3.1",
  parcel: "2.16.4",
  metro: "0.87.1",
  next: "16.4.6",
  react: "19.3.1",
  typescript: "7.0.2",
  typescript5: "5.9.3",
  nodeTypes: "26.6.6",
  webgpuTypes: "0.1.74",
  workersTypes: "5.20261117.1",
  vitepress: "1.6.4",
  typedoc: "0.28.20",
  typedocMarkdown: "4.14.1",
  eslint: "10.15.0",
  eslintEsX: "9.7.0",
  publint: "0.3.25",
  attw: "0.18.5",
  webgpu: "0.6.2",
  workerd: "1.20261117.1",
  edgeRuntime: "5.0.0",
  autocannon: "9.0.0",
  jest: "30.5.2",
  vitest: "4.1.12",
  jsdom: "29.1.1",
  ses: "2.3.0",
  fakeTimers: "15.5.0",
} as const;

/**
 * Makes Deno take its packages as the lock file has them. `deno.json` names no lock file: whatever one
 * lists, `deno task` downloads before any task, the demo too.
 */
export const locked = `--lock=${fileURLToPath(new URL("deno.lock", import.meta.url))}`;

/** Installs packages, unless they are there; returns their `node_modules`. */
export function install(
  name: string,
  packages: readonly string[],
  flags: readonly string[] = [],
): string {
  const key = createHash("sha256").update([...packages, ...flags].join(" ")).digest("hex");
  const folder = join(tmpdir(), `flashtile-${name}-${key.slice(0, 12)}`);
  const modules = join(folder, "node_modules"), complete = join(modules, ".complete");
  if (existsSync(complete)) return modules;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const { status, error } = spawnSync("npm", [
    ...[
      "install",
      "--no-save",
      "--no-package-lock",
      "--no-audit",
      "--no-fund",
      "--loglevel=error",
      ...flags,
    ],
    ...["--prefix", folder, ...packages],
  ], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) {
    throw new Error(`Cannot install ${packages.join(", ")}: npm ended with ${error ?? status}`);
  }
  mkdirSync(complete);
  return modules;
}

/** A runtime's name, and the program with its flags that runs a script. */
export interface RuntimeCommand {
  readonly name: string;
  readonly command: readonly string[];
}

/** The program of an installed runtime. */
export function runtimeProgram(name: "bun" | "node", version: string): string {
  return join(install(name, [`${name}@${version}`]), ".bin", name);
}

/** Every runtime that scripts are raced on. */
export function runtimeCommands(): RuntimeCommand[] {
  return [
    { name: "Deno", command: [process.execPath, "run", "-A", "--no-check"] },
    { name: "Node 26", command: [runtimeProgram("node", versions.node26)] },
    { name: "Bun", command: [runtimeProgram("bun", versions.bun), "run"] },
  ];
}
