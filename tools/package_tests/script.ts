/**
 * The program as users write it without TypeScript.
 *
 * @module
 */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { install, versions } from "../install.ts";
import { runIn } from "./child.ts";
import { sourceOf } from "./project.ts";

/** Writes the program into a project, without types; returns its name. */
export function writeProgram(project: string): string {
  const modules = install("esbuild", [`esbuild@${versions.esbuild}`]);
  writeFileSync(join(project, "program.ts"), sourceOf("program.ts"));
  runIn(project, [
    join(modules, ".bin", "esbuild"),
    ...["program.ts", "--outfile=program.js", "--target=es2022", "--log-level=warning"],
  ]);
  return "program.js";
}
