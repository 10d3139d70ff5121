/**
 * The package as npm sends it: one tarball.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { buildPackage } from "./build.ts";

function tarballOf(folder: string): string | undefined {
  const name = existsSync(folder) && readdirSync(folder).find((file) => file.endsWith(".tgz"));
  return name ? join(folder, name) : undefined;
}

/**
 * Builds the package (`npm/`) and its tarball under a folder, unless that is there; returns the
 * tarball's path.
 */
export function packPackage(folder: string): string {
  const made = tarballOf(folder);
  if (made !== undefined) return made;
  const built = join(folder, "npm");
  buildPackage(built);
  const { status } = spawnSync("npm", ["pack", "--loglevel=error", "--pack-destination", folder], {
    cwd: built,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const tarball = tarballOf(folder);
  if (status !== 0 || tarball === undefined) throw new Error(`Cannot pack ${built}`);
  return tarball;
}
