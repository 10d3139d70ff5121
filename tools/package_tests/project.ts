/**
 * A user's project: an empty folder in which the package is installed, and a program.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { renamed } from "../build_npm/rename.ts";
import { runIn } from "./child.ts";
import { emptyFolder, tarball } from "./folder.ts";

const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];

/** How npm installs packages. */
export function npmInstall(packages: readonly string[]): string[] {
  return ["npm", "install", ...quiet, ...packages];
}

/** Makes a project, and installs the package as a package manager does it. */
export function makeProject(
  name: string,
  install: (packages: readonly string[]) => readonly string[] = npmInstall,
  packages: readonly string[] = [],
): string {
  const folder = emptyFolder(name);
  writeFileSync(join(folder, "package.json"), '{ "private": true, "type": "module" }\n');
  runIn(folder, install([tarball(), ...packages]));
  return folder;
}

/** A program of this folder in TypeScript, with the package's name on npm. */
export function sourceOf(name: string): string {
  return renamed(readFileSync(new URL(name, import.meta.url), "utf8"));
}
