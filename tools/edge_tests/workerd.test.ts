/**
 * The package on workerd, in every way that it can be bundled.
 *
 * @module
 */

import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { filesOf } from "../bundle_tests.ts";
import type { BundleOptions } from "../bundle_worker.ts";
import { versions } from "../install.ts";
import { keepFinding } from "../runtime_table.ts";
import { serveWorker, type WorkerOptions } from "../workerd.ts";
import type { Checked } from "./check.ts";
import { bundled } from "./project.ts";
import { expectRight, findingOf } from "./right.ts";

/** Before a worker was allowed to compile while it starts. */
const strict: WorkerOptions = { compatibilityDate: "2025-05-31" };

const worker = "tools/edge_tests/checking_worker.ts";

/** A way to bundle, what the bundle consists of, and what it is served as. */
interface Way {
  readonly words: string;
  readonly files: RegExp;
  readonly bundling: BundleOptions;
  readonly serving: WorkerOptions;
  /** What softmax and functions say, whose programs only the package's entry provides. */
  readonly late?: RegExp;
}

const ways: readonly Way[] = [
  {
    words: "by the condition workerd, which compiles nothing at all",
    files:
      /^integer-relaxed\.wasm relaxed\.wasm rows-relaxed\.wasm scored-relaxed\.wasm worker\.js$/,
    bundling: {},
    serving: strict,
  },
  {
    words: "minified, in chunks that a handler imports",
    files:
      /^(\S+\.js ){2,}integer-relaxed\.wasm (\S+\.js )+relaxed\.wasm (\S+\.js )*rows-relaxed\.wasm (\S+\.js )*scored-relaxed\.wasm (\S+\.js )*worker\.js$/,
    bundling: { flags: ["--minify", "--splitting"] },
    serving: strict,
  },
  {
    words: "with the binary in a single script",
    files: /^worker\.js$/,
    bundling: { single: true },
    serving: {},
  },
  {
    words: "by no condition, in a single script",
    files: /^worker\.js$/,
    bundling: { flags: ["--conditions="] },
    serving: {},
    late: /the condition `workerd`/,
  },
];

for (const [index, { words, files, bundling, serving, late }] of ways.entries()) {
  test(`workerd runs the package bundled ${words}`, async () => {
    const folder = bundled(`way-${index}`, worker, bundling);
    assertMatch(filesOf(folder, "").map((file) => file.slice(folder.length + 1)).join(" "), files);
    await using served = await serveWorker(folder, serving);
    for (const _time of ["first", "second"]) {
      const response = await fetch(served.url);
      assertEquals(response.status, 200, await response.clone().text());
      const checked = await response.json() as Checked;
      expectRight(checked, late);
      assertEquals(
        checked.reason,
        "relaxed binary, one thread: compiled before the program serves",
      );
      assertEquals(checked.offered.threads.reason, "this runtime has no workers");
      keepFinding({ ...findingOf("workerd", versions.workerd, checked), group: "edge" });
      assertLess(checked.memoryBytes, 16 * 2 ** 20);
    }
  });
}

test("createEngine() takes the package's binary as workerd has compiled it", async () => {
  // By no condition, on a day when nothing may be compiled: this binary is all that there is.
  const flags = ["--conditions="];
  const folder = bundled("module", "tools/edge_tests/module_worker.ts", { flags });
  await using served = await serveWorker(folder, strict);
  const response = await fetch(served.url);
  assertEquals(response.status, 200, await response.clone().text());
  assertEquals(await response.json(), { reason: "the module passed in", wrong: false });
});

test("workerd says what to do where nothing was compiled when it could be", async () => {
  const folder = bundled("too-late", worker, { flags: ["--conditions="] });
  assert(!existsSync(join(folder, "relaxed.wasm")));
  await using served = await serveWorker(folder, strict);
  const response = await fetch(served.url);
  assertEquals(response.status, 500);
  assertMatch(await response.text(), /BackendUnavailableError.*the condition `workerd`/);
});
