/**
 * A project that every host builds: the package, installed once, and scripts that compare it with the
 * oracle.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { install, versions } from "../install.ts";
import { runIn } from "../package_tests/child.ts";
import { makeProject } from "../package_tests/project.ts";

/** What can be imported: all in chunks, or all in one script. */
export const entries = ["flashtile", "flashtile/single"] as const;

/** One of them. */
export type EntryName = (typeof entries)[number];

/** A name for files. */
export function shortName(entry: EntryName): string {
  return entry.replace("/", "-");
}

/** Writes the checks of `tools/edge_tests`, without types, as `check-NAME.js` for each entry. */
function writeChecks(folder: string): void {
  const source = readFileSync(new URL("../edge_tests/check.ts", import.meta.url), "utf8");
  const esbuild = join(install("esbuild", [`esbuild@${versions.esbuild}`]), ".bin", "esbuild");
  for (const entry of entries) {
    const name = `check-${shortName(entry)}`;
    const text = source.replace('"@flashtile/attention"', JSON.stringify(entry))
      .replace('"@flashtile/attention/reference"', '"flashtile/reference"');
    writeFileSync(join(folder, `${name}.ts`), text);
    runIn(folder, [
      ...[esbuild, `${name}.ts`, `--outfile=${name}.js`],
      ...["--target=es2022", "--log-level=warning"],
    ]);
  }
}

/** Makes a project with the checks. Each file of tests has its own, and removes nothing. */
export function makeHostProject(name: string): string {
  const folder = makeProject(`${name}-${crypto.randomUUID()}`);
  writeChecks(folder);
  return folder;
}
