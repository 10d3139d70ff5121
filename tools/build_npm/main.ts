/**
 * `deno task npm`: makes the npm package `flashtile` of the same source, in `npm/` or in the folder
 * given:
 *
 *     deno task npm FOLDER
 *
 * @module
 */

import { relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { filesOf } from "../bundle_tests.ts";
import { buildPackage } from "./build.ts";

const [folder = fileURLToPath(new URL("../../npm", import.meta.url))] = process.argv.slice(2);
buildPackage(folder);
console.log(
  `${filesOf(folder, ".js").length} scripts in ${relative(process.cwd(), folder) || "."}`,
);
