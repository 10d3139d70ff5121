/**
 * The package where workers are like workerd's: Vercel's runtime, and Deno without a permission.
 *
 * @module
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { minilmFolder, referenceTexts } from "../../tests/support/minilm.ts";
import { cosine } from "../../tests/support/near.ts";
import { withShared } from "../../tests/support/shared.ts";
import { install, runtimeProgram, versions } from "../install.ts";
import { runIn } from "../package_tests/child.ts";
import { keepFinding } from "../runtime_table.ts";
import { root } from "../test_runs.ts";
import type { Checked } from "./check.ts";
import { bundled, project } from "./project.ts";
import { expectRight, findingOf } from "./right.ts";

/** What is run in a context, and what it finds there. */
interface Hosted {
  /** A classic script that makes a global. */
  readonly script: string;
  /** What is asked of that: an expression of a promise. */
  readonly asked: string;
  /** A folder whose files are a global, `files`. */
  readonly folder?: string;
}

/** Evaluates something in a context that has nothing but what Vercel's runtime gives it. */
function evaluate<T>({ script, asked, folder }: Hosted): T {
  const modules = install("edge-runtime", [`@edge-runtime/vm@${versions.edgeRuntime}`]);
  const host = join(project, "edge_runtime.mjs");
  writeFileSync(
    host,
    `import { readdirSync, readFileSync } from "node:fs";
import runtime from ${JSON.stringify(join(modules, "@edge-runtime/vm/dist/index.js"))};
const folder = ${JSON.stringify(folder ?? null)};
const files = Object.fromEntries((folder === null ? [] : readdirSync(folder)).map((name) =>
  [name, readFileSync(folder + "/" + name)]
));
const vm = new runtime.EdgeVM({ extend: (context) => Object.assign(context, { files }) });
vm.evaluate(readFileSync(${JSON.stringify(script)}, "utf8"));
console.log(JSON.stringify(await vm.evaluate(${JSON.stringify(asked)})));
`,
  );
  return JSON.parse(runIn(project, [runtimeProgram("node", versions.node26), host]).stdout);
}

/** Bundles a module into a classic script that makes a global of its name. */
function bundledAs(name: string, module: string): string {
  const flags = ["--conditions=edge-light", "--format=iife", `--global-name=${name}`];
  return join(bundled(name, module, { flags, single: true }), "worker.js");
}

test("@edge-runtime/vm runs the package in a single script, with its globals only", () => {
  const checked = evaluate<Checked & { globals: string[] }>({
    script: bundledAs("checking", "tools/edge_tests/check.ts"),
    asked: `checking.check().then((checked) => ({
      ...checked, globals: [typeof EdgeRuntime, typeof process, typeof navigator, typeof require],
    }))`,
  });
  assertEquals(checked.globals, ["string", "undefined", "undefined", "undefined"]);
  expectRight(checked);
  keepFinding({ ...findingOf("@edge-runtime/vm", versions.edgeRuntime, checked), group: "edge" });
  assertMatch(checked.reason, /^simd binary, one thread: compiled before/);
});

const models = bundledAs("models", "tools/edge_tests/models.ts");

test("loadDecoder() in @edge-runtime/vm goes on with a text as PyTorch", () => {
  const folder = join(root, "examples/llama/model");
  const { prompts: [{ prompt, greedy }] } = JSON.parse(
    readFileSync(join(folder, "reference.json"), "utf8"),
  );
  const asked = `models.goOn(${JSON.stringify(prompt)}, 16)`;
  assertEquals(evaluate({ script: models, asked, folder }), greedy.slice(0, 16));
});

test(
  "loadEncoder() in @edge-runtime/vm embeds texts as all-MiniLM-L6-v2",
  withShared(minilmFolder),
  () => {
    const texts = referenceTexts(24), folder = join(root, "../shared", minilmFolder);
    const asked = `models.vectorsOf(${JSON.stringify(texts.map(({ text }) => text))})`;
    const vectors = evaluate<number[][]>({ script: models, asked, folder });
    assertEquals(vectors.length, texts.length);
    for (const [at, { text, embedding }] of texts.entries()) {
      assert(cosine(vectors[at], embedding) >= 0.99999, text);
    }
  },
);

// That the installed package does is a test of the packages.
test("the source runs on Deno, without a permission", () => {
  const program = join(root, "tools/package_tests/program.ts");
  const { stdout } = runIn(root, [process.execPath, "run", "--no-prompt", "--no-check", program]);
  assertEquals(JSON.parse(stdout).runtime, "Deno");
});
