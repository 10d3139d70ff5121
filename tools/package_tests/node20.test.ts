/**
 * The package has nothing in it that Node 20 lacks, which is the oldest of all runtimes.
 *
 * @module
 */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { readFileSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { workerSource } from "../../src/wasm/team/threads/worker_source.ts";
import { filesOf } from "../bundle_tests.ts";
import { install, versions } from "../install.ts";
import { root } from "../test_runs.ts";
import { runIn } from "./child.ts";
import { emptyFolder, tarball } from "./folder.ts";
import { unsupported } from "./syntax.ts";

const folder = emptyFolder("node20");
runIn(folder, ["tar", "--extract", "--file", tarball()]);
const dist = join(folder, "package", "dist");

for (const file of filesOf(dist, ".js")) {
  test(`${relative(dist, file)} has nothing that Node 20 lacks`, () => {
    assertEquals(unsupported(readFileSync(file, "utf8")), []);
  });
}

test("the worker's script has nothing that Node 20 lacks", () => {
  assertEquals(unsupported(workerSource, "script"), []);
});

/** Compiles TypeScript with the built-ins that Node 20 has, and those that `unsupported()` finds. */
function compile(files: readonly string[]): void {
  const modules = install("types", [`typescript@${versions.typescript}`]);
  runIn(root, [
    join(modules, ".bin", "tsc"),
    ...["--ignoreConfig", "--noEmit", "--strict", "--target", "es2023", "--module", "nodenext"],
    ...["--lib", "es2023,esnext.disposable,es2025.float16,dom,dom.iterable,dom.asynciterable"],
    ...["--types", "", "--allowImportingTsExtensions", "--noUncheckedIndexedAccess", "false"],
    ...files,
  ]);
}

// What is a method of arrays and, in later years, of iterators too, is told apart by types alone.
test("the source calls no method that Node 20 lacks", () => {
  compile(["mod.ts", "src/reference/mod.ts", "src/engine/workerd.ts"]);
});

for (const call of ["new Map([[1, 2]]).values().map(String)", "[1].values().some(Boolean)"]) {
  test(`tsc finds ${call}`, () => {
    const file = join(folder, "call.ts");
    writeFileSync(file, `console.log(${call.replace(/\.\w+\(\w+\)$/, "")});\n`);
    compile([file]);
    writeFileSync(file, `console.log(${call});\n`);
    assertThrows(() => compile([file]), Error, "does not exist on type");
  });
}

/** What Node 20 lacks, used without a test. */
const lacking = [
  "Promise.withResolvers();",
  "await Array.fromAsync([]);",
  "await using a = f();",
  "using a = f();",
  "new Map().values().map((x) => x);",
  "Iterator.from([]);",
  "new Float16Array(1);",
  "f(globalThis.Float16Array);",
  "Object.groupBy([], (x) => x);",
  "new Set().union(new Set());",
  "export const f = (view) => view.setFloat16(0, 1);",
  "export const f = (buffer) => buffer.transfer();",
  "export const f = (bytes) => bytes.toBase64();",
  "Uint8Array.fromBase64('');",
  "Math.sumPrecise([1]);",
  "RegExp.escape('');",
  "/(?i:a)/;",
  "import a from './a.json' with { type: 'json' };",
  "new WebSocket('');",
  "navigator.hardwareConcurrency;",
];
for (const code of lacking) {
  test(`unsupported() finds ${code}`, () => {
    const found = unsupported(`const f = () => {};\n${code}\n`.replace(/.*\n(?=export)/, ""));
    assert(found.length > 0);
  });
}

test("unsupported() lets pass what is tested before it is used", () => {
  const found = unsupported([
    "export const a = typeof Float16Array === 'undefined' ? {} : { Float16Array };",
    "export const b = Promise.withResolvers ? Promise.withResolvers() : undefined;",
    "export const c = globalThis.navigator?.gpu;",
  ].join("\n"));
  assertEquals(found, []);
});
