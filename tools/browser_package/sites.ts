/**
 * Sites that use the npm package as its users do: pages without any tool, and pages made by Vite.
 *
 * @module
 */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { workerVersion } from "../../src/wasm/team/threads/worker_source.ts";
import { bundleForPackage, bundleOverGlobal, type PackageNames } from "../bundle_tests.ts";
import { install, runtimeProgram, versions } from "../install.ts";
import { isolation } from "../isolation.ts";
import { answers, freePort } from "../ports.ts";
import { root } from "../test_runs.ts";

/** Folders of the sites. */
export interface Sites {
  /** A script tag on the minified file of the unpacked package. */
  readonly plain: string;
  /** The production build of a project that depends on the package. */
  readonly vite: string;
  /** The project. */
  readonly project: string;
  /** A page with a service worker. */
  readonly serviceWorker: string;
  /** An extension for Chromium, with a background service worker and a page. */
  readonly extension: string;
  /** A page without any tool, with models' files; and the same built by Vite. */
  readonly models: string;
  readonly modelsByVite: string;
  /** The page that the README shows. */
  readonly readme: string;
  /** Whether the package has a script with all in it, without `import()`, which workers then take. */
  readonly hasSingle: boolean;
}

/** The sites in a folder, whether they are made yet or not. */
export function sitesIn(folder: string): Sites {
  const project = join(folder, "project"), serviceWorker = join(folder, "service_worker");
  return {
    ...{ plain: join(folder, "plain"), vite: join(project, "dist"), project, serviceWorker },
    ...{ extension: join(folder, "extension"), models: join(folder, "models") },
    ...{ modelsByVite: join(project, "models_dist"), readme: join(folder, "readme") },
    hasSingle: existsSync(join(serviceWorker, single)),
  };
}

/** The script with all in it, in a site. */
const single = "flashtile/flashtile.single.js";

/** Scripts that a page of the CPU has no need of hold this: shaders. */
export const shaderMark = "@compute";

const html = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>FlashTile from npm</title>
    <link rel="icon" href="data:,">
    <script type="module" src="/address.js"></script>
    <script type="module" src="/main.js"></script>
  </head>
</html>
`;

/** Says where the package's script for workers is, by an expression of its address. */
function addressScript(expression: string, before = ""): string {
  return `${before}globalThis.workerUrl = new URL(${expression}, location.href).href;\n`;
}

const viteConfig = `export default {
  clearScreen: false,
  server: { host: "127.0.0.1", strictPort: true, headers: ${JSON.stringify(isolation)} },
};
`;

/** Makes the sites of the package's tarball. */
export function makeSites(folder: string, tarball: string): void {
  const { plain, project } = sitesIn(folder);
  makeProject(project, tarball);
  writeScript(project, {
    "@flashtile/attention": "flashtile",
    "@flashtile/attention/reference": "flashtile/reference",
  });
  // As the README says: the address of a file, however small.
  const address = 'import url from "flashtile/worker.js?url&no-inline";\n';
  writeFileSync(join(project, "address.js"), addressScript("url", address));
  build(project);
  // What npm has unpacked.
  cpSync(join(project, "node_modules", "flashtile", "dist"), join(plain, "flashtile"), {
    recursive: true,
  });
  writeFileSync(join(plain, "index.html"), html);
  writeScript(plain, {
    "@flashtile/attention": "/flashtile/flashtile.min.js",
    "@flashtile/attention/reference": "/flashtile/reference.js",
  });
  writeFileSync(join(plain, "address.js"), addressScript('"/flashtile/worker.js"'));
  writeOlder(join(plain, "flashtile"));
  makeWorkers(folder);
  makeModels(folder);
  makeReadmePage(folder);
}

/** The README, with the page and the headers that it shows. */
const readme = () => readFileSync(join(root, "README.md"), "utf8");

/** The headers that the README says a page is to be served with. */
export function readmeHeaders(): Record<string, string> {
  const [, lines] = readme().match(/```text\n(Cross-Origin-[^]*?)```/)!;
  return Object.fromEntries(lines.trim().split("\n").map((line) => line.split(": ")));
}

function makeReadmePage(folder: string): void {
  const { plain, readme: site } = sitesIn(folder), name = "flashtile.single.js";
  const [, page] = readme().match(/```html\n([^]*?)```/)!;
  mkdirSync(site);
  writeFileSync(join(site, "index.html"), page);
  symlinkSync(join(plain, "flashtile", name), join(site, name));
}

/** What models are read from, by the paths of pages: none of it is copied. */
const modelFolders = { llama: "examples/llama/model", minilm: "../shared/real/minilm" };

/** Two sites whose page has models: of the unpacked package, and the project's by Vite. */
function makeModels(folder: string): void {
  const { plain, models, project, modelsByVite } = sitesIn(folder);
  const page = html.replace(/^.*address\.js.*\n/m, ""), name = "@flashtile/attention/models";
  mkdirSync(models);
  writeFileSync(join(models, "index.html"), page);
  writeScript(models, { [name]: "/flashtile/models.js" }, "models_page");
  symlinkSync(join(plain, "flashtile"), join(models, "flashtile"));
  mkdirSync(join(project, "models"));
  writeFileSync(join(project, "models", "index.html"), page.replace("/main.js", "./main.js"));
  writeScript(join(project, "models"), { [name]: "flashtile/models" }, "models_page");
  build(project, "models", "--outDir=../models_dist", "--emptyOutDir");
  for (const site of [models, modelsByVite]) {
    for (const [path, target] of Object.entries(modelFolders)) {
      if (existsSync(join(root, target))) symlinkSync(join(root, target), join(site, path));
    }
  }
}

/** What an extension is. Its pages are isolated, which headers say elsewhere. */
const manifest = {
  manifest_version: 3,
  name: "FlashTile",
  version: "1.0",
  content_security_policy: { extension_pages: "script-src 'self' 'wasm-unsafe-eval'" },
  cross_origin_embedder_policy: { value: isolation["Cross-Origin-Embedder-Policy"] },
  cross_origin_opener_policy: { value: isolation["Cross-Origin-Opener-Policy"] },
};

/** What answers messages with the page's `checks`. */
const answering = `
onmessage = async ({ data: [name, ...given], ports: [port] }) => {
  try {
    port.postMessage({ value: await checks[name](...given) });
  } catch (error) {
    port.postMessage({ error: String(error.stack ?? error) });
  }
};
`;

/** A site with a service worker, and an extension with the same one, of the plain site. */
function makeWorkers(folder: string): void {
  const { plain, serviceWorker, extension } = sitesIn(folder);
  cpSync(plain, serviceWorker, { recursive: true });
  const { hasSingle } = sitesIn(folder);
  const script = hasSingle
    ? `importScripts("/${single}");\n${scriptOverGlobal(serviceWorker)}`
    : 'import "/main.js";\n';
  writeFileSync(join(serviceWorker, "service_worker.js"), script + answering);
  cpSync(serviceWorker, extension, { recursive: true });
  const background = {
    service_worker: "service_worker.js",
    type: hasSingle ? undefined : "module",
  };
  writeFileSync(join(extension, "manifest.json"), JSON.stringify({ ...manifest, background }));
}

/** The page's script over the global of the script with all in it. */
function scriptOverGlobal(site: string): string {
  const source = fileURLToPath(new URL("page.ts", import.meta.url));
  return readFileSync(bundleOverGlobal(join(site, "over_global"), source), "utf8");
}

/** A script for workers as a server may still have it, of another version. */
function writeOlder(folder: string): void {
  const text = readFileSync(join(folder, "worker.js"), "utf8");
  writeFileSync(join(folder, "older.js"), text.replace(workerVersion, "older"));
}

function makeProject(project: string, tarball: string): void {
  mkdirSync(project, { recursive: true });
  writeFileSync(join(project, "index.html"), html);
  writeFileSync(join(project, "vite.config.js"), viteConfig);
  const vite = viteCommand();
  const description = {
    private: true,
    type: "module",
    scripts: { build: `${vite} build`, dev: vite },
    dependencies: { flashtile: `file:${tarball}` },
  };
  writeFileSync(join(project, "package.json"), JSON.stringify(description));
  const { status } = spawnSync("npm", [
    ...["install", "--offline", "--no-audit", "--no-fund", "--no-package-lock"],
    "--loglevel=error",
  ], { cwd: project, stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`Cannot install ${tarball}`);
}

/** The page's script, which imports the package by these names. */
function writeScript(folder: string, names: PackageNames, page = "page"): void {
  const source = fileURLToPath(new URL(`${page}.ts`, import.meta.url));
  const bundled = bundleForPackage(join(folder, "bundled"), source, names);
  renameSync(join(bundled, `${page}.js`), join(folder, "main.js"));
}

/** What runs Vite, in a shell. */
function viteCommand(): string {
  const modules = install("vite", [`vite@${versions.vite}`]);
  return `"${runtimeProgram("node", versions.node26)}" "${join(modules, "vite/bin/vite.js")}"`;
}

function build(project: string, ...flags: readonly string[]): void {
  const { status, stdout, stderr } = spawnSync(
    "npm",
    ["run", "--silent", "build", "--", ...flags],
    {
      cwd: project,
      encoding: "utf8",
    },
  );
  if (status !== 0) throw new Error(`Cannot build ${project}:\n${stdout}${stderr}`);
  // Whoever builds with the package should not be told anything about it.
  if (stderr !== "") throw new Error(`Vite complains of the package:\n${stderr}`);
}

/** A development server. */
export interface DevelopmentServer extends AsyncDisposable {
  readonly url: string;
}

/** Starts Vite's development server for the project. */
export async function serveProject(project: string): Promise<DevelopmentServer> {
  const { scripts } = JSON.parse(readFileSync(join(project, "package.json"), "utf8"));
  const port = await freePort(), url = `http://127.0.0.1:${port}/`;
  const server = spawn("sh", ["-c", `exec ${scripts.dev} --port=${port}`], {
    cwd: project,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = once(server, "exit");
  const stop = async () => {
    server.kill();
    await ended;
  };
  try {
    await answers(url);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, [Symbol.asyncDispose]: stop };
}
