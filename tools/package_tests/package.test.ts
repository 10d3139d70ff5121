/**
 * What is published, to npm and to JSR.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { documents } from "../build_npm/documents.ts";
import { nameOnJsr } from "../build_npm/rename.ts";
import { filesOf } from "../bundle_tests.ts";
import { install, versions } from "../install.ts";
import { root } from "../test_runs.ts";
import { runIn } from "./child.ts";
import { emptyFolder, tarball } from "./folder.ts";
import { makeProject } from "./project.ts";

const programs = join(
  install("package-checks", [
    `publint@${versions.publint}`,
    `@arethetypeswrong/cli@${versions.attw}`,
  ]),
  ".bin",
);

/** The folder of what is in the tarball. */
function unpack(): string {
  const folder = emptyFolder("unpacked");
  runIn(folder, ["tar", "--extract", "--file", tarball()]);
  return join(folder, "package");
}

const unpacked = unpack();

test("publint finds nothing in the npm package", () => {
  const { all } = runIn(root, [join(programs, "publint"), tarball(), "--strict"]);
  assert(all.includes("All good!"), all);
});

test("attw resolves every entry of the npm package from ES modules", () => {
  const { all } = runIn(root, [join(programs, "attw"), tarball(), "--profile", "esm-only"]);
  assertEquals(all.match(/node16 \(from ESM\): 🟢/g)?.length, 15, all);
});

test("the npm package is imported by its name on npm, wherever it is named", () => {
  const naming = filesOf(unpacked, "").filter((file) =>
    /\.(ts|js|md|json)$/.test(file) && readFileSync(file, "utf8").search(nameOnJsr) >= 0
  );
  assertEquals(naming, []);
});

test("the npm package's README says how it is installed, and nothing of a checkout", () => {
  const readme = readFileSync(join(unpacked, "README.md"), "utf8");
  const commands = "npm install flashtile\nbun add flashtile\ndeno add jsr:@flashtile/attention\n";
  assert(readme.includes(commands), readme);
  assert(readme.includes('from "flashtile"'), readme);
  assert(!/^## (Try it|Contributing)/m.test(readme), readme);
  assert(readme.includes("[ATTENTION](docs/ATTENTION.md)"), readme);
});

test("documents of the npm package link to what is in it", () => {
  for (const file of filesOf(unpacked, ".md")) {
    for (const [, target] of readFileSync(file, "utf8").matchAll(/\]\(([^)#]+)/g)) {
      const there = /^https?:/.test(target) || existsSync(join(dirname(file), target));
      assert(there, `${file} links to ${target}`);
    }
  }
});

test("npx flashtile doctor tells what the machine offers, and tries it", () => {
  const folder = makeProject("doctor");
  const { all } = runIn(folder, ["npx", "--no-install", "flashtile", "doctor"]);
  assert(/^wasm +(simd|relaxed): /m.test(all), all);
  assert(/^wasm +right, .* GFLOP\/s/m.test(all), all);
  assert(all.includes("`npm install webgpu`"), all);
  const help = runIn(folder, ["npx", "--no-install", "flashtile", "--help"]);
  assert(help.all.startsWith("Usage: flashtile doctor"), help.all);
});

test("the npm package depends on nothing, and runs nothing when it is installed", () => {
  const { dependencies, scripts, peerDependencies, peerDependenciesMeta } = JSON.parse(
    readFileSync(join(unpacked, "package.json"), "utf8"),
  );
  assertEquals([dependencies, scripts], [undefined, undefined]);
  assertEquals(Object.keys(peerDependencies), ["webgpu"]);
  assertEquals(peerDependenciesMeta, { webgpu: { optional: true } });
});

test("deno publish takes the source alone, and has nothing to say against it", () => {
  const { all } = runIn(root, [process.execPath, "publish", "--dry-run", "--allow-dirty"]);
  assert(all.includes("Success Dry run complete"), all);
  assert(!/warning|error|slow type[^s]/i.test(all.replaceAll(/(file:|src)\/\S+/g, "")), all);
  const files = Array.from(all.matchAll(/file:\/\/\S+/g), ([url]) => url)
    .map((url) => url.slice(new URL(`file://${root}`).href.length));
  assertEquals(
    files.filter((file) => !file.startsWith("src/")).sort(),
    ["README.md", "deno.json", "mod.ts", ...documents].sort(),
  );
});
