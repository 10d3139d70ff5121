/**
 * The package's types, as TypeScript emits them.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { copyFileSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { filesOf } from "../bundle_tests.ts";
import { install, versions } from "../install.ts";
import { renamed } from "./rename.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Modules whose types are public. */
const sources = [
  "mod.ts",
  "src/masks/patterns/mod.ts",
  "src/reference/mod.ts",
  "src/linear/mod.ts",
  "src/models/mod.ts",
  "src/nn/mod.ts",
  "src/sharded/mod.ts",
  "src/wide/mod.ts",
];

/** Declarations that are written by hand. */
const written = ["globals.d.ts", "binary.d.ts", "worker.d.ts"];

/** Emits the declarations that the public ones reach, into a folder. */
export function emitTypes(folder: string): void {
  emit(folder);
  const reached = new Set<string>();
  for (const source of sources) reach(declarationOf(join(folder, source)), reached);
  for (const file of filesOf(folder, ".d.ts")) {
    if (!reached.has(file)) rmSync(file);
    else writeFileSync(file, renamed(withScripts(readFileSync(file, "utf8"))));
  }
  for (const file of written) copyFileSync(new URL(file, import.meta.url), join(folder, file));
  const declarations = sources.map((source) => declarationOf(join(folder, source)));
  for (const file of declarations) refer(file, join(folder, "globals.d.ts"));
}

/** Makes a project that takes a declaration file take another one too. */
function refer(file: string, other: string): void {
  const path = relative(dirname(file), other).replace(/^(?!\.)/, "./");
  writeFileSync(file, `/// <reference path="${path}" />\n${readFileSync(file, "utf8")}`);
}

function emit(folder: string): void {
  const modules = install("types", [`typescript@${versions.typescript}`]);
  const { status } = spawnSync(join(modules, ".bin", "tsc"), [
    ...[
      "--ignoreConfig",
      "--declaration",
      "--emitDeclarationOnly",
      "--strict",
      "--target",
      "esnext",
    ],
    ...["--module", "nodenext", "--lib", "esnext,dom,dom.iterable,dom.asynciterable"],
    ...["--types", "", "--rewriteRelativeImportExtensions", "--noUncheckedIndexedAccess", "false"],
    ...["--rootDir", root, "--outDir", folder, ...sources],
  ], { cwd: root, stdio: "inherit" });
  if (status !== 0) throw new Error("Cannot emit the package's types");
}

/** An import of another module of the source. */
const import_ = /((?:from|import\()\s*")(\.[^"]+)\.ts"/g;

function declarationOf(source: string): string {
  return source.replace(/\.ts$/, ".d.ts");
}

/** Collects a declaration file and those that it imports. */
function reach(file: string, reached: Set<string>): void {
  if (reached.has(file)) return;
  reached.add(file);
  for (const [, , path] of readFileSync(file, "utf8").matchAll(import_)) {
    reach(join(dirname(file), `${path}.d.ts`), reached);
  }
}

/** Imports name scripts, as users' compilers expect: declarations are emitted with those of sources. */
function withScripts(text: string): string {
  return text.replace(import_, '$1$2.js"');
}
