/**
 * Programs as users write them without TypeScript.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { install, versions } from "../install.ts";
import { runIn } from "./child.ts";
import { sourceOf } from "./project.ts";

/** Writes a program of this folder into a project, without types; returns its name. */
export function writeProgram(project: string, name = "program"): string {
  const modules = install("esbuild", [`esbuild@${versions.esbuild}`]);
  writeFileSync(join(project, `${name}.ts`), sourceOf(`${name}.ts`));
  runIn(project, [
    join(modules, ".bin", "esbuild"),
    ...[`${name}.ts`, `--outfile=${name}.js`, "--target=es2022", "--log-level=warning"],
  ]);
  return `${name}.js`;
}
