/**
 * Where a run's projects are, and the package that they install.
 *
 * @module
 */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { packPackage } from "../build_npm/pack.ts";

/** Name of the variable that says where. */
export const folderVariable = "FLASHTILE_PACKAGE_FOLDER";

function folder(): string {
  const given = process.env[folderVariable];
  if (given === undefined) {
    throw new Error("These tests run by `deno task test:all npm`, which makes a folder for them");
  }
  return given;
}

/** The package's tarball. */
export function tarball(): string {
  return packPackage(folder());
}

/** An empty folder for a project. */
export function emptyFolder(name: string): string {
  const path = join(folder(), name);
  mkdirSync(path);
  return path;
}
