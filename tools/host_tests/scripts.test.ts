/**
 * The package in a program that bundlers make of it, each entry by itself.
 *
 * @module
 */

import { assert } from "@std/assert";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { filesOf } from "../bundle_tests.ts";
import { expectRight } from "../edge_tests/right.ts";
import { install, runtimeProgram, versions } from "../install.ts";
import { runIn } from "../package_tests/child.ts";
import { keepFinding } from "../runtime_table.ts";
import { entries, type EntryName, makeHostProject, shortName } from "./project.ts";

const project = makeHostProject("scripts");
const node = runtimeProgram("node", versions.node26);

for (const name of entries.map(shortName)) {
  writeFileSync(
    join(project, `program-${name}.js`),
    `import { check } from "./check-${name}.js";
check().then((checked) => console.log(JSON.stringify(checked)));
`,
  );
}

/**
 * A bundler that is run in the project: makes a script `program` or `page` in a folder, which is `.cjs`
 * where it must not be taken for a module.
 */
interface Bundler {
  readonly name: string;
  readonly version: string;
  readonly packages: readonly string[];
  /** Its command, `modules` being where it is installed. Writes configurations first. */
  command(modules: string, source: string, folder: string): readonly string[];
  /** What runs the script, if not Node by itself. */
  runner?(folder: string): readonly string[];
}

/** Writes a configuration; returns its name. */
function configure(folder: string, text: string, extension = "mjs"): string {
  const name = `${folder}.config.${extension}`;
  writeFileSync(join(project, name), text);
  return name;
}

const bundlers: readonly Bundler[] = [
  {
    name: "esbuild",
    version: versions.esbuild,
    packages: [`esbuild@${versions.esbuild}`],
    command: (modules, source, folder) => [
      ...[join(modules, ".bin", "esbuild"), source, "--bundle", "--format=iife"],
      ...[`--outfile=${folder}/program.cjs`, "--log-level=warning"],
    ],
  },
  {
    name: "Rollup",
    version: versions.rollup,
    packages: [
      `rollup@${versions.rollup}`,
      `@rollup/plugin-node-resolve@${versions.rollupNodeResolve}`,
    ],
    command: (modules, source, folder) => [
      ...[join(modules, ".bin", "rollup"), `program=${source}`, "--dir", folder, "--format", "es"],
      ...["--plugin", join(modules, "@rollup/plugin-node-resolve/dist/es/index.js")],
    ],
  },
  {
    name: "webpack",
    version: versions.webpack,
    packages: [`webpack@${versions.webpack}`, `webpack-cli@${versions.webpackCli}`],
    command: (modules, source, folder) => [
      ...[node, join(modules, "webpack", "bin", "webpack.js"), "--config"],
      configure(
        folder,
        `export default {
  mode: "production", target: "node", entry: "./${source}",
  output: { path: ${JSON.stringify(join(project, folder))}, filename: "program.cjs" },
};
`,
      ),
    ],
  },
  {
    name: "Parcel",
    version: versions.parcel,
    packages: [`parcel@${versions.parcel}`],
    command: (modules, source, folder) => {
      // A page, whose scripts are modules then.
      mkdirSync(join(project, folder));
      const page = join(folder, "page.html"), script = `../${source}`;
      writeFileSync(join(project, page), `<script type="module" src="${script}"></script>\n`);
      return [
        ...[node, join(modules, "parcel", "lib", "bin.js"), "build", page, "--no-source-maps"],
        ...["--dist-dir", folder, "--cache-dir", `${folder}-cache`, "--public-url", "./"],
      ];
    },
    // The page says by which names scripts are loaded later, in a way that Node does not have.
    runner: (folder) => {
      const page = readFileSync(join(project, folder, "page.html"), "utf8");
      const [, names = "{}"] = /<script type="?importmap"?>(.*?)<\/script>/.exec(page) ?? [];
      const map = join(project, folder, "names.json");
      writeFileSync(map, names);
      return [process.execPath, "run", "--no-prompt", "--allow-read", `--import-map=${map}`];
    },
  },
  {
    name: "Metro",
    version: versions.metro,
    packages: [`metro@${versions.metro}`],
    command: (modules, source, folder) => {
      mkdirSync(join(project, folder));
      const file = configure(
        folder,
        `module.exports = {
  projectRoot: __dirname,
  watchFolders: [${JSON.stringify(dirname(modules))}],
  cacheStores: [],
  resolver: { useWatchman: false, nodeModulesPaths: [${JSON.stringify(modules)}] },
  // What a project has Babel do, without a preset.
  transformer: {
    getTransformOptions: async () => ({ transform: { experimentalImportSupport: true } }),
  },
};
`,
        "cjs",
      );
      return [
        ...[node, join(modules, "metro", "src", "cli.js"), "build", source],
        ...["--out", `${folder}/program.cjs`, "--config", file, "--max-workers", "1"],
      ];
    },
  },
];

/** Bundles a program; returns the script. */
function bundle({ name, packages, command }: Bundler, entry: EntryName): string {
  const folder = `${name.toLowerCase()}-${shortName(entry)}`, modules = install(name, packages);
  const given = command(modules, `program-${shortName(entry)}.js`, folder);
  const { all } = runIn(project, given, { PARCEL_WORKERS: "0" });
  assert(!/warn|\(!\)|error/i.test(all), all);
  const first = /\/(?:program|page)[^/]*\.c?js$/;
  return filesOf(join(project, folder), "js").find((path) => first.test(path))!;
}

for (const bundler of bundlers) {
  for (const entry of entries) {
    test(`${bundler.name} bundles ${entry} into a program, which computes right`, () => {
      const script = bundle(bundler, entry), folder = relative(project, dirname(script));
      const { stdout } = runIn(project, [...bundler.runner?.(folder) ?? [node], script]);
      expectRight(JSON.parse(stdout));
      const { name, version } = bundler, tried = `\`${entry}\` in a program`;
      keepFinding({ runtime: name, version, group: "bundlers", tried });
    });
  }
}
