/**
 * Bundles workers as users do: from the package that npm would give them.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { packPackage } from "./build_npm/pack.ts";
import { install, versions } from "./install.ts";

/** How a worker is bundled. */
export interface BundleOptions {
  /** Flags of esbuild beyond those that every worker needs. */
  readonly flags?: readonly string[];
  /** Whether everything is to be in one script; by default binaries lie beside it. */
  readonly single?: boolean;
}

/** Unpacks the package's tarball into `node_modules` of a folder; returns these. */
export function unpackPackage(folder: string): string {
  const modules = join(folder, "node_modules"), target = join(modules, "flashtile");
  if (existsSync(target)) return modules;
  const tarball = packPackage(folder);
  mkdirSync(target, { recursive: true });
  const { status } = spawnSync("tar", ["-xzf", tarball, "-C", target, "--strip-components=1"], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) throw new Error(`Cannot unpack ${tarball}`);
  return modules;
}

/**
 * Bundles a worker into a folder, as `worker.js`. Files that it imports and that are no scripts are
 * modules beside it, or bytes in it.
 *
 * @param worker The worker's script.
 * @param folder Receives the bundle.
 * @param modules `node_modules` that have the package.
 */
export function bundleWorker(
  worker: string,
  folder: string,
  modules: string,
  { flags = [], single = false }: BundleOptions = {},
): void {
  const loader = single ? "binary" : "copy";
  const esbuild = install("esbuild", [`esbuild@${versions.esbuild}`]);
  const { status } = spawnSync(join(esbuild, ".bin", "esbuild"), [
    ...["--bundle", "--format=esm", "--conditions=workerd", `worker=${worker}`],
    ...["wasm", "safetensors"].map((extension) => `--loader:.${extension}=${loader}`),
    ...["--alias:@flashtile/attention=flashtile", "--asset-names=[name]"],
    ...[`--outdir=${folder}`, "--log-level=warning", ...flags],
  ], {
    stdio: "inherit",
    env: { ...process.env, NODE_PATH: [modules, process.env.NODE_PATH].join(delimiter) },
  });
  if (status !== 0) throw new Error(`Cannot bundle ${worker}`);
}
