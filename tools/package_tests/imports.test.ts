/**
 * What a program pays for what it imports: bundled with the package, minified and gzipped. What is not
 * used is left out.
 *
 * @module
 */

import { assert } from "@std/assert";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { install, versions } from "../install.ts";
import { loaded } from "../loaded.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";

const modules = install("imports", [
  `esbuild@${versions.esbuild}`,
  `rollup@${versions.rollup}`,
  `@rollup/plugin-node-resolve@${versions.rollupNodeResolve}`,
]);
const project = makeProject("imports");

/** What a program imports, how it uses that, and the most bytes of what it loads from the start. */
interface Import {
  readonly name: string;
  readonly code: string;
  readonly most?: { readonly [Bundler in BundlerName]?: number };
}

/** 1,100 of it for errors that say which name was meant. */
const patternBytes = 6500;

const imports: readonly Import[] = [
  {
    name: "alibiSlopes",
    code: 'import { alibiSlopes } from "flashtile"; console.log(alibiSlopes(8));',
    most: { rollup: 6000, esbuild: 6000 },
  },
  {
    name: "blockMask, a pattern",
    code: 'import { blockMask } from "flashtile"; console.log(blockMask.causal({ queries: 8 }));',
    most: { rollup: patternBytes }, // esbuild takes a namespace as a whole.
  },
  {
    name: "flashtile/block-mask, a pattern",
    code: 'import { causal } from "flashtile/block-mask"; console.log(causal({ queries: 8 }));',
    most: { rollup: patternBytes, esbuild: patternBytes },
  },
  {
    name: "blockMask, all patterns",
    code: 'import { blockMask } from "flashtile"; console.log(blockMask);',
  },
  {
    name: "attention",
    code: 'import { attention } from "flashtile"; console.log(attention);',
  },
  {
    name: "caches",
    code: 'import { createEngine } from "flashtile"; console.log((await createEngine()).kvCache);',
  },
  {
    name: "gradients",
    code: 'import { attentionWithGradient } from "flashtile"; console.log(attentionWithGradient);',
  },
  { name: "everything", code: 'import * as all from "flashtile"; console.log(all);' },
];

/** Bundlers, as they are called: what is loaded later rollup puts beside the program, esbuild into it. */
const bundlers = {
  rollup: (from: string, to: string) => [
    ...["rollup", from, "--dir", to, "--format", "es", "--silent"],
    ...["--plugin", join(modules, "@rollup/plugin-node-resolve/dist/es/index.js")],
  ],
  esbuild: (from: string, to: string) => [
    ...["esbuild", from, "--bundle", "--format=esm", `--outdir=${to}`, "--log-level=warning"],
  ],
} as const;

type BundlerName = keyof typeof bundlers;

function run([program, ...given]: readonly string[]): void {
  runIn(project, [join(modules, ".bin", program), ...given]);
}

/** Bytes of a script, minified and gzipped. */
function minified(path: string): number {
  const to = `${path}.min`;
  run(["esbuild", path, "--minify", "--format=esm", `--outfile=${to}`, "--log-level=warning"]);
  return gzipSync(readFileSync(to), { level: 9 }).length;
}

/** Bytes that a program needs to start. */
function sizeOf({ name, code }: Import, bundler: BundlerName): number {
  const file = `${name.replace(/\W+/g, "-")}.js`;
  writeFileSync(join(project, file), `${code}\n`);
  run(bundlers[bundler](file, bundler));
  const scripts = loaded(join(project, bundler, file), false);
  return [...scripts.keys()].reduce((sum, path) => sum + minified(path), 0);
}

for (const one of imports) {
  test(`a program that imports ${one.name} carries no more than it uses`, () => {
    for (const bundler of Object.keys(bundlers) as BundlerName[]) {
      const size = sizeOf(one, bundler), most = one.most?.[bundler];
      console.log(`${one.name}, by ${bundler}: ${size} bytes gzipped`);
      assert(most === undefined || size <= most, `${bundler}: ${size} bytes, at most ${most}`);
    }
  });
}
