/**
 * The package's command, `npx flashtile doctor`: the doctor over the package's own scripts.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { versions } from "../install.ts";
import { runTool } from "./cut.ts";

/** What it imports of the source, and the script that has it. */
const scripts = {
  "../mod.ts": "./flashtile.js",
  "../src/reference/mod.ts": "./reference.js",
  "../src/wide/mod.ts": "./wide.js",
} as const;

/** Writes the command into the folder of scripts. */
export function bundleDoctor(folder: string): void {
  const path = join(folder, "doctor.js");
  runTool("esbuild", versions.esbuild, [
    fileURLToPath(new URL("../doctor.ts", import.meta.url)),
    ...Object.keys(scripts).map((source) => `--external:${source}`),
    ...["--bundle", "--format=esm", "--platform=node", "--target=node20"],
    ...["--banner:js=#!/usr/bin/env node", `--outfile=${path}`, "--log-level=warning"],
  ]);
  let text = readFileSync(path, "utf8");
  for (const [source, script] of Object.entries(scripts)) {
    if (!text.includes(`"${source}"`)) throw new Error(`The doctor does not import ${source}`);
    text = text.replaceAll(`"${source}"`, `"${script}"`);
  }
  writeFileSync(path, text);
}
