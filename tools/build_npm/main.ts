/**
 * `deno task npm`: makes the npm package `flashtile` of the same source, in `npm/` or in the folder
 * given:
 *
 *     deno task npm FOLDER
 *
 * @module
 */

import "../help.ts";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { filesOf } from "../bundle_tests.ts";
import { buildPackage } from "./build.ts";
import { packageJson } from "./package_json.ts";

/** Whether a folder may be written anew: it is not there, empty, or an older package. */
function isOurs(folder: string): boolean {
  if (!existsSync(folder) || readdirSync(folder).length === 0) return true;
  const description = join(folder, "package.json");
  return existsSync(description) &&
    JSON.parse(readFileSync(description, "utf8")).name === packageJson().name;
}

// `deno task npm -- FOLDER` hands the `--` on.
const given = process.argv.slice(2).filter((argument) => argument !== "--");
const [folder = fileURLToPath(new URL("../../npm", import.meta.url))] = given;
if (!isOurs(folder)) {
  throw new Error(`Cannot write ${folder}: it has other files; name a folder that is empty or new`);
}
buildPackage(folder);
console.log(
  `${filesOf(folder, ".js").length} scripts in ${relative(process.cwd(), folder) || "."}`,
);
