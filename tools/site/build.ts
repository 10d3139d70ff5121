/**
 * The site, from its sources to files that can be served.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { writePage } from "../../examples/serve_page.ts";
import { page as browserPage } from "../../examples/browser/serve.ts";
import { page as storyPage } from "../../examples/story/serve.ts";
import { filesOf } from "../bundle_tests.ts";
import { install, runtimeProgram, versions } from "../install.ts";
import { root } from "../test_runs.ts";
import { brokenLinks } from "./links.ts";
import { documentsIn, forSite, picturesIn, sitePath, titleOf } from "./documents.ts";

/** Pages that run something, by their places in the site. */
const live = { story: storyPage, playground: browserPage };

/** Makes the site in `folder`; `work` is for what is made on the way. Gives the number of its pages. */
export function buildSite(work: string, folder: string, base: string): number {
  const modules = install("site", [
    `vitepress@${versions.vitepress}`,
    `typedoc@${versions.typedoc}`,
    `typedoc-plugin-markdown@${versions.typedocMarkdown}`,
    `typescript@${versions.typescript5}`,
  ]);
  symlinkSync(modules, join(work, "node_modules"));
  const documents = documentsIn(root);
  for (const path of documents) {
    write(join(work, sitePath(path)), forSite(read(path), path, documents));
  }
  for (const path of picturesIn(root, documents)) {
    mkdirSync(dirname(join(work, path)), { recursive: true });
    cpSync(join(root, path), join(work, path));
  }
  writeApi(work);
  for (const [name, page] of Object.entries(live)) {
    mkdirSync(join(work, "public", name), { recursive: true });
    writePage(page, join(work, "public", name));
  }
  writeConfig(work, base, documents);
  rmSync(folder, { recursive: true, force: true });
  runProgram(work, join(modules, "vitepress/bin/vitepress.js"), [
    "build",
    work,
    "--outDir",
    folder,
  ]);
  return checkLinks(folder, base);
}

/** Fails where a link leads nowhere; gives the number of pages. */
function checkLinks(folder: string, base: string): number {
  const files = filesOf(folder, "").map((file) => file.slice(folder.length + 1));
  const pages = files.filter((file) => file.endsWith(".html"));
  const texts = new Map(pages.map((page) => [page, readFileSync(join(folder, page), "utf8")]));
  const broken = brokenLinks({ pages: texts, files: new Set(files), base });
  if (broken.length > 0) throw new Error(`Links lead nowhere:\n${broken.join("\n")}`);
  return pages.length;
}

const read = (path: string) => readFileSync(join(root, path), "utf8");

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

/** Runs a program of Node; shows what it says only where it fails. */
function runProgram(cwd: string, script: string, given: readonly string[]): void {
  const node = runtimeProgram("node", versions.node26);
  const { status, stdout, stderr } = spawnSync(node, [script, ...given], {
    cwd,
    encoding: "utf8",
    maxBuffer: 2 ** 26,
    env: { ...process.env, NO_COLOR: "1" },
  });
  if (status !== 0) throw new Error(`Cannot make the site:\n${stdout}${stderr}`);
}

/** What is public, by the doc comments of the source: a folder of pages for each export. */
function writeApi(work: string): void {
  const { name, exports } = JSON.parse(read("deno.json")) as {
    name: string;
    exports: Record<string, string>;
  };
  const modules = Object.entries(exports).map(([path, source]) => {
    const module = path === "." ? "attention" : path.slice(2);
    const entry = join(work, "entries", `${module}.ts`), text = read(source);
    // The module's own comment, and what it exports, under the name that it is imported by.
    const [comment] = text.match(/^\/\*\*[^]*?\*\/\n/)!;
    write(entry, `${comment}export * from ${JSON.stringify(join(root, source))};\n`);
    return { entry, imported: name + path.slice(1), source: join(root, source) };
  });
  const entries = modules.map(({ entry }) => entry);
  write(
    join(work, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        ...{ target: "esnext", module: "esnext", moduleResolution: "bundler", strict: true },
        ...{ allowImportingTsExtensions: true, noEmit: true, skipLibCheck: true, types: [] },
        lib: ["esnext", "dom", "dom.iterable", "dom.asynciterable"],
        paths: Object.fromEntries(modules.map(({ imported, source }) => [imported, [source]])),
      },
      files: entries,
    }),
  );
  write(
    join(work, "typedoc.json"),
    JSON.stringify({
      entryPoints: entries,
      tsconfig: join(work, "tsconfig.json"),
      plugin: ["typedoc-plugin-markdown"],
      // Modules are named by where they are in it.
      basePath: join(work, "entries"),
      // Places within a page are numbered in another way than VitePress numbers them: a page for each name.
      outputFileStrategy: "members",
      out: join(work, "api"),
      readme: "none",
      name: "What is public",
      skipErrorChecking: true, // `deno check` has checked, with Deno's types.
      disableSources: true,
      excludePrivate: true,
      excludeInternal: true,
      hideBreadcrumbs: true,
      hidePageHeader: true,
      entryFileName: "index",
      parametersFormat: "list", // Tables have places in them that are written as HTML.
      sanitizeComments: true,
      logLevel: "Error",
    }),
  );
  runProgram(work, join(work, "node_modules/typedoc/bin/typedoc"), ["--options", "typedoc.json"]);
  rmSync(join(work, "entries"), { recursive: true });
}

/** An entry of the list of pages. */
interface Item {
  readonly text: string;
  readonly link: string;
}

/** A page as VitePress names it. */
const linkOf = (path: string) => "/" + sitePath(path).replace(/(index)?\.md$/, "");

function itemsOf(documents: readonly string[]): Item[] {
  return documents.map((path) => ({ text: titleOf(read(path)), link: linkOf(path) }));
}

function writeConfig(work: string, base: string, documents: readonly string[]): void {
  const inFolder = (folder: string) => documents.filter((path) => path.startsWith(folder));
  const isForUsers = (path: string) => !forThoseWho.includes(path);
  const docs = inFolder("docs/").filter((path) => !path.startsWith("docs/recipes/"));
  const api = filesOf(join(work, "api"), "/index.md").map((file) => file.slice(work.length + 1))
    .filter((path) => path.split("/").length === 3);
  const config = {
    title: "FlashTile",
    description: "Exact FlashAttention for JavaScript: Wasm SIMD, threads and WebGPU",
    lang: "en",
    base,
    lastUpdated: false,
    head: [["link", { rel: "icon", href: "data:," }]],
    // Files of the site that VitePress does not make.
    ignoreDeadLinks: [/^\/(story|playground)\//],
    themeConfig: {
      search: { provider: "local" },
      outline: { level: [2, 3] },
      nav: [
        { text: "Recipes", link: "/docs/recipes/" },
        { text: "What is public", link: "/api/" },
        { text: "The story", link: "/story/index.html", target: "_self" },
        { text: "Playground", link: "/playground/index.html", target: "_self" },
      ].filter(({ link }) => link !== "/docs/recipes/" || inFolder("docs/recipes/").length > 0),
      sidebar: [
        { text: "Start", link: "/" },
        { text: "Recipes", collapsed: true, items: itemsOf(inFolder("docs/recipes/")) },
        { text: "By task", items: itemsOf(docs.filter(isForUsers)) },
        { text: "Examples", collapsed: true, items: itemsOf(inFolder("examples/")) },
        {
          text: "What is public",
          collapsed: true,
          items: api.map((path) => ({
            text: path.split("/")[1],
            link: linkOf(path),
          })),
        },
        {
          text: "For who works on it",
          collapsed: true,
          items: itemsOf([...docs.filter((path) => !isForUsers(path)), ...own]),
        },
      ].filter(({ items }) => items === undefined || items.length > 0),
    },
  };
  // Links that are looked at are regular expressions, which JSON lacks.
  const { ignoreDeadLinks: [ignored], ...plain } = config;
  write(
    join(work, ".vitepress/config.mjs"),
    `export default {\n  ...${
      JSON.stringify(plain, null, 2)
    },\n  ignoreDeadLinks: [${ignored}],\n` +
      // Tags of prose are prose.
      "  markdown: { html: false },\n};\n",
  );
}

/** Documents for who works on the project, of `docs/` and beside. */
const forThoseWho = [
  "docs/ARCHITECTURE.md",
  "docs/GPU_COMPILERS.md",
  "docs/PERFORMANCE.md",
  "docs/RELEASING.md",
];
const own = ["CONTRIBUTING.md", "CHANGELOG.md"];
