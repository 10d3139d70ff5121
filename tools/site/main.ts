/**
 * `deno task site [FOLDER] [--base /PATH/] [--pictures]`: makes the site of the documents in `site/`, or in a folder
 * given: the README as its start, `docs/`, what the examples say of themselves, what is public by the
 * doc comments of the source, and the pages of the story and of masks. VitePress makes it, TypeDoc
 * reads the source, both from npm into the temporary folder. Fails where a link leads nowhere.
 *
 * `--base` is the path that it is served under, `/` by default; `--pictures` takes those of the
 * documents, in Chromium. Programs in it are those that `deno task doc` runs.
 *
 * @module
 */

import "../help.ts";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { root } from "../test_runs.ts";
import { buildSite } from "./build.ts";
import { takePictures } from "./pictures.ts";

const { values: { base, pictures }, positionals } = parseArgs({
  // `deno task site -- FOLDER` hands the `--` on.
  args: process.argv.slice(2).filter((argument) => argument !== "--"),
  allowPositionals: true,
  options: { base: { type: "string", default: "/" }, pictures: { type: "boolean" } },
});
if (!/^\/(.*\/)?$/.test(base)) {
  throw new Error(`Expected --base to begin and end with a slash, got "${base}"`);
}
if (pictures && base !== "/") throw new Error("Expected no --base with --pictures");
const folder = resolve(positionals[0] ?? join(root, "site"));
if (existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(join(folder, "404.html"))) {
  throw new Error(`Cannot write ${folder}: it has other files; name a folder that is empty or new`);
}
const work = mkdtempSync(join(tmpdir(), "flashtile-site-"));
try {
  const pages = buildSite(work, folder, base);
  if (pictures) await takePictures(folder, join(root, "docs/images"));
  console.log(`${pages} pages in ${relative(process.cwd(), folder) || "."}`);
} finally {
  rmSync(work, { recursive: true, force: true });
}
