/**
 * The program, bundled with the package as users do it, every bundle run.
 *
 * @module
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { filesOf } from "../bundle_tests.ts";
import { install, runtimeProgram, versions } from "../install.ts";
import { loaded } from "../loaded.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";
import { writeProgram } from "./script.ts";

const modules = install("bundlers", [
  `esbuild@${versions.esbuild}`,
  `vite@${versions.vite}`,
  `rollup@${versions.rollup}`,
  `@rollup/plugin-node-resolve@${versions.rollupNodeResolve}`,
  `webpack@${versions.webpack}`,
  `webpack-cli@${versions.webpackCli}`,
]);

const project = makeProject("bundlers");
writeProgram(project);
installWebGpu(project);

/** Puts a package `webgpu` into a project which finds no adapter. Bundlers have nothing to do with it. */
function installWebGpu(project: string): void {
  const folder = join(project, "node_modules", "webgpu");
  mkdirSync(folder);
  writeFileSync(
    join(folder, "index.js"),
    "export const create = () => ({ requestAdapter: () => Promise.resolve(null) });\n",
  );
}

/** A bundler: its command, and its configuration where that is a file. */
interface Bundler {
  readonly name: string;
  readonly arguments: readonly string[];
  readonly config?: Readonly<Record<string, unknown>>;
}

// For production, to `NAME/program.js` with other scripts beside it.
const bundlers: readonly Bundler[] = [
  {
    name: "esbuild",
    arguments: [
      ...["program.js", "--bundle", "--minify", "--splitting", "--format=esm", "--outdir=esbuild"],
      "--log-level=warning",
    ],
  },
  {
    name: "rollup",
    arguments: [
      ...["program.js", "--dir", "rollup", "--format", "es"],
      ...["--plugin", join(modules, "@rollup/plugin-node-resolve/dist/es/index.js")],
    ],
  },
  {
    name: "vite",
    arguments: ["build", "--config", "vite.config.mjs"],
    config: {
      build: {
        outDir: "vite",
        modulePreload: false, // Asks for a document.
        rollupOptions: { input: "program.js", output: { entryFileNames: "program.js" } },
      },
    },
  },
  {
    name: "webpack",
    arguments: ["--config", "webpack.config.mjs"],
    config: {
      mode: "production",
      entry: "./program.js",
      target: "es2022",
      experiments: { outputModule: true },
      output: {
        ...{ path: join(project, "webpack"), filename: "program.js", module: true },
        ...{ chunkFormat: "module", chunkLoading: "import" },
      },
    },
  },
];

/** Bundles the program; returns the folder. */
function bundle({ name, arguments: given, config }: Bundler): string {
  if (config !== undefined) {
    const text = `export default ${JSON.stringify(config)};\n`;
    writeFileSync(join(project, `${name}.config.mjs`), text);
  }
  const { all } = runIn(project, [join(modules, ".bin", name), ...given]);
  assert(!/warn|\(!\)|error/i.test(all), all);
  return join(project, name);
}

function hasShaders(script: string): boolean {
  return readFileSync(script, "utf8").includes("@compute");
}

for (const bundler of bundlers) {
  test(`${bundler.name} bundles the npm package: it runs, and starts without WGSL`, () => {
    const folder = bundle(bundler);
    const { stdout } = runIn(folder, [runtimeProgram("node", versions.node26), "program.js"]);
    const { binary, webgpu } = JSON.parse(stdout);
    assertEquals(binary, "relaxed");
    assertStringIncludes(webgpu.reason, "no adapter"); // Of the package that is installed.

    assert(filesOf(folder, "js").some(hasShaders), "no script has the shaders");
    assertEquals([...loaded(join(folder, "program.js"), false).keys()].filter(hasShaders), []);
  });
}
