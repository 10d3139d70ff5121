/**
 * Runs the tests on every runtime: Deno as they are, Bun, Node 20 and Node 26 bundled (Node 20 does
 * not read TypeScript, and only Deno reads the import map). The runtimes are installed once, into a
 * folder of the system's temporary directory. The last line is `N passed, N failed`, counted from the
 * runners' own JUnit reports; a runtime that does not report counts as a failure.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));

/** What is installed beside the project: the other runtimes, and what bundling needs. */
const versions = { bun: "1.4.5", node20: "20.20.2", node26: "26.10.0", esbuild: "0.28.2" } as const;

/** A runtime, and how it runs the tests and writes a report. */
interface Runtime {
  readonly name: string;
  readonly command: string;
  arguments(report: string): string[];
}

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Installs packages into a folder of their own, unless they are there. */
function install(name: string, packages: readonly string[]): string {
  const folder = join(
    tmpdir(),
    `flashtile-${name}-${packages.join("_").replace(/[^\w.@-]/g, "+")}`,
  );
  if (existsSync(join(folder, "node_modules", ".complete"))) return folder;
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  run("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--prefix", folder, ...packages]);
  mkdirSync(join(folder, "node_modules", ".complete"));
  return folder;
}

function run(command: string, args: readonly string[], env: Record<string, string> = {}): number {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  if (error) console.error(`error: ${command}: ${error.message}`);
  return status ?? 1;
}

function testFiles(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".test.ts"))
    .map((file) => join(folder, file))
    .sort();
}

/** Packages of the import map, as `npm install` and as a bundler's alias name them. */
function importMap(): { packages: string[]; aliases: string[] } {
  const { imports } = JSON.parse(readFileSync(join(root, "deno.json"), "utf8")) as {
    imports: Record<string, string>;
  };
  const packages = new Set<string>(), aliases: string[] = [];
  for (const [name, target] of Object.entries(imports)) {
    const [, spec, path = ""] = target.match(/^npm:((?:@[^/]+\/)?[^/@]+@[^/]+)(\/.*)?$/) ?? [];
    if (spec === undefined) {
      aliases.push(`--alias:${name}=${join(root, target)}`);
    } else {
      packages.add(spec);
      aliases.push(`--alias:${name}=${spec.replace(/@[^@]+$/, "")}${path}`);
    }
  }
  return { packages: [...packages], aliases };
}

/** Bundles every test file by itself; returns the folder that they are in. */
function bundleTests(): string {
  const { packages, aliases } = importMap();
  const tools = install("bundling", [`esbuild@${versions.esbuild}`, ...packages]);
  const folder = mkdtempSync(join(tmpdir(), "flashtile-tests-"));
  const status = run(join(tools, "node_modules", ".bin", "esbuild"), [
    ...testFiles("tests"),
    ...["--bundle", "--format=esm", "--platform=node", "--target=node20", "--log-level=warning"],
    ...["--sourcemap=inline", "--sources-content=false", "--out-extension:.js=.mjs"],
    `--outdir=${folder}`,
    ...aliases,
  ], {
    NODE_PATH: [join(tools, "node_modules"), process.env.NODE_PATH].filter(Boolean).join(delimiter),
  });
  if (status !== 0) throw new Error("Cannot bundle the tests");
  return folder;
}

function bundles(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".mjs"))
    .map((file) => join(folder, file));
}

function runtimes(bundled: string): Runtime[] {
  const binary = (name: string, spec: string) =>
    join(install(name, [spec]), "node_modules", ".bin", name);
  const node = (version: string): Runtime => ({
    name: `Node ${version}`,
    command: binary("node", `node@${version}`),
    arguments: (report) => [
      ...["--test", "--test-reporter=junit", `--test-reporter-destination=${report}`],
      ...["--test-reporter=dot", "--test-reporter-destination=stdout"],
      ...bundles(bundled),
    ],
  });
  return [
    {
      name: "Deno",
      command: process.execPath,
      arguments: (report) => [
        ...["test", "--allow-read", "--no-check", "--parallel", "--reporter=dot"],
        ...[`--junit-path=${report}`, "tests/"],
      ],
    },
    {
      name: `Bun ${versions.bun}`,
      command: binary("bun", `bun@${versions.bun}`),
      arguments: (report) => [
        ...["test", "--timeout=120000", "--reporter=junit", `--reporter-outfile=${report}`],
        ...bundles(bundled),
      ],
    },
    node(versions.node20),
    node(versions.node26),
  ];
}

/** Counts the test cases of a JUnit report. */
function countCases(report: string): Counts {
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  const cases = readFileSync(report, "utf8").matchAll(
    /<testcase\b[^>]*?(?:\/>|>([^]*?)<\/testcase>)/g,
  );
  for (const [, inside = ""] of cases) {
    if (/<(failure|error)\b/.test(inside)) counts.failed++;
    else if (/<skipped\b/.test(inside)) counts.skipped++;
    else counts.passed++;
  }
  return counts;
}

function testOn(runtime: Runtime, folder: string): Counts {
  console.log(`\n${runtime.name}`);
  const report = join(folder, `${runtime.name.replace(/\W+/g, "-")}.xml`);
  const status = run(runtime.command, runtime.arguments(report));
  const counts = existsSync(report) ? countCases(report) : { passed: 0, failed: 0, skipped: 0 };
  const broke = counts.passed === 0 || (status !== 0 && counts.failed === 0);
  if (broke) {
    console.error(`error: ${runtime.name} ended with ${status} after ${counts.passed} tests`);
    counts.failed++;
  }
  return counts;
}

function line({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

const folder = bundleTests();
try {
  const results = runtimes(folder).map((runtime) =>
    [runtime.name, testOn(runtime, folder)] as const
  );
  console.log("");
  for (const [name, counts] of results) console.log(`${name.padEnd(14)} ${line(counts)}`);
  const sum = (key: keyof Counts) => results.reduce((total, [, counts]) => total + counts[key], 0);
  const total = { passed: sum("passed"), failed: sum("failed"), skipped: sum("skipped") };
  console.log(line(total));
  if (total.failed > 0) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
