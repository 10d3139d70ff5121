/**
 * The runs of the WebGPU tests, on four stacks. None needs a GPU: Mesa's lavapipe serves Deno, and
 * SwiftShader, which comes with Chromium, serves Dawn in Node, Bun and Chromium itself. Debian's
 * packages have both.
 *
 * @module
 */

import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { bundleForBrowser, bundleForNode, filesOf } from "./bundle_tests.ts";
import { install, locked, versions } from "./install.ts";
import { type Claim, nameOf } from "./runtime_table.ts";
import {
  bunTests,
  denoTests,
  longestLane,
  nodeTests,
  ofBunAndNode,
  root,
  settings,
  type TestRun,
} from "./test_runs.ts";

/** Names of the tests that need WebGPU end with it: `… (webgpu)`. */
const names = String.raw`\(webgpu[^)]*\)$`;

/** Folders of `tests/` that have such tests. */
const suites = [
  "contract",
  "webgpu",
  "gradients",
  "properties",
  "readonce",
  "linear",
  "nn",
  "models",
  "documents",
  "sharded",
];

/** What every stack runs: of the rest one is enough, since it takes minutes in software. */
const briefSuites = [
  ...["vectors", "gradients", "cache", "life_cycle"].map((name) => `contract/${name}`),
  "webgpu",
];

/** Test files by the suites that are folders, and by those that are files. */
function filesIn(folder: string, suites: readonly string[], ending: string): string[] {
  return suites.flatMap((suite) => {
    const path = join(folder, suite);
    return existsSync(path) ? filesOf(path, ending) : [`${path}${ending}`];
  });
}

/** Seconds that a stack may take: shaders are compiled for the processor, slowly, and beside other runs. */
const patience = 4500;

/** Fails where something of a Debian package is not there, with what to do. */
function expectFile(path: string | undefined, what: string, debianPackage: string): string {
  if (path !== undefined && existsSync(path)) return path;
  throw new Error(`Cannot find ${what}: install it with \`apt-get install ${debianPackage}\``);
}

/** Mesa's Vulkan driver for the processor. The name of its file has the processor's in it. */
export function lavapipe(): string {
  const folder = "/usr/share/vulkan/icd.d";
  const file = existsSync(folder) &&
    readdirSync(folder).find((name) => name.startsWith("lvp_icd."));
  return expectFile(file ? join(folder, file) : undefined, "lavapipe", "mesa-vulkan-drivers");
}

function swiftShader(): string {
  return expectFile("/usr/lib/chromium/vk_swiftshader_icd.json", "SwiftShader", "chromium");
}

/** Demands a GPU of the tests, and names the one Vulkan driver to take, whatever else there is. */
function environmentOf(driver: string, folder: string): Record<string, string> {
  const XDG_RUNTIME_DIR = join(folder, "xdg"); // Mesa complains where there is none.
  mkdirSync(XDG_RUNTIME_DIR, { recursive: true, mode: 0o700 });
  return { FLASHTILE_REQUIRE_GPU: "1", VK_DRIVER_FILES: driver, XDG_RUNTIME_DIR };
}

/** Stacks that are one underneath try what is random less often, and each a part of the tests, another one in each run. */
function brief(part: 1 | 2 | 3): Record<string, string> {
  return { FLASHTILE_TESTS: `brief ${part} of 3` };
}

/** The same for Node and Bun, which have WebGPU from a package. */
function dawnEnvironment(folder: string, part: 1 | 2): Record<string, string> {
  const modules = install("webgpu", [`webgpu@${versions.webgpu}`]);
  return {
    ...environmentOf(swiftShader(), folder),
    ...brief(part),
    FLASHTILE_WEBGPU: join(modules, "webgpu", "index.js"),
  };
}

/** Every stack. `folder` is for bundles. */
export function gpuRuns(folder: string): TestRun[] {
  const paths = suites.map((suite) => join("tests", suite));
  const bundles = () => filesIn(bundleForNode(folder), briefSuites, ".test.mjs");
  const pattern = [`--test-name-pattern=${names}`];
  const claims = (
    runtime: string,
    version: string,
    webgpu: string,
    on = "SwiftShader",
  ): Claim[] => [{ runtimes: [nameOf(runtime, version)], tried: `WebGPU on ${on}`, webgpu }];
  const fromPackage = "the package `webgpu`";
  // A stack keeps half a processor busy: it waits for what it has submitted.
  const lanes = [longestLane, ofBunAndNode] as const;
  const runs: Pick<TestRun, "name" | "lane" | "claims" | "tests" | "reportsLast">[] = [
    {
      name: "Deno, WebGPU",
      lane: lanes[0],
      claims: claims("Deno", Deno.version.deno, "its own", "lavapipe"),
      reportsLast: true,
      tests: (report) => ({
        ...denoTests(report, paths, [
          settings,
          `--filter=/${names}/`,
        ]),
        environment: {
          ...environmentOf(lavapipe(), folder),
          // Otherwise it takes OpenGL where Vulkan fails.
          DENO_WEBGPU_BACKEND: "vulkan",
          // Compiling shaders is nine tenths of what lavapipe does here: a quarter less without optimization.
          GALLIVM_PERF: "nopt",
        },
      }),
    },
    {
      name: `Bun ${versions.bun}, WebGPU`,
      lane: lanes[1],
      claims: claims("Bun", versions.bun, fromPackage),
      tests: (report) => ({
        ...bunTests(report, bundles(), pattern),
        environment: dawnEnvironment(folder, 1),
      }),
    },
    {
      name: `Node ${versions.node26}, WebGPU`,
      lane: lanes[1],
      claims: claims("Node", versions.node26, fromPackage),
      tests: (report) => ({
        ...nodeTests(versions.node26, report, bundles(), pattern),
        environment: dawnEnvironment(folder, 2),
      }),
    },
    {
      name: "Chromium, WebGPU",
      lane: lanes[0],
      claims: claims("Chromium", "", "its own"),
      tests: (report) => ({
        program: process.execPath,
        arguments: [
          ...["run", locked, "-A", "--no-check", join(root, "tools/browser_tests/main.ts")],
          ...[names, report, bundleForBrowser(folder, filesIn("tests", briefSuites, ".test.ts"))],
        ],
        // A browser that is ended leaves its profile behind: here, that goes with the folder.
        environment: { FLASHTILE_REQUIRE_GPU: "1", ...brief(3), TMPDIR: folder },
      }),
    },
  ];
  return runs.map((run) => ({ ...run, patience, names, mayAbort: true }));
}
