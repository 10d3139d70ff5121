/**
 * What the package's workers do to the process that they are started in: nothing of the main thread's
 * runs in them again; and where Node's worker threads are there by name alone, a page's are taken.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { cells } from "../../src/wasm/team/threads/control.ts";
import { runtimeProgram, versions } from "../install.ts";
import { keepFinding } from "../runtime_table.ts";
import { runIn } from "./child.ts";
import { makeProject } from "./project.ts";

const project = makeProject("workers");

function write(name: string, text: string): string {
  writeFileSync(join(project, name), text);
  return `./${name}`;
}

/** Runs a script on Node; returns what it wrote as JSON. */
function runOn<T>(
  version: string,
  given: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): T {
  const { stdout } = runIn(project, [runtimeProgram("node", version), ...given], environment);
  return JSON.parse(stdout) as T;
}

/** Collects workers of `worker_threads`, and calls until the first of them has begun. */
const calls = `
import { writeSync } from "node:fs";
import { capabilities, createEngine, tensor } from "flashtile";

/** Calls on two threads until \`control()\` is that of a worker which has begun. */
export async function callUntilBegun(control) {
  const engine = await createEngine({ backend: "wasm", threads: 2 });
  const ones = tensor(new Float32Array(8 * 512 * 64).fill(1), [8, 512, 64]);
  for (let time = 0; time < 1000; time++) {
    const { out } = await engine.attention(ones, ones, ones);
    if (out.data.some((x) => Math.abs(x - 1) > 1e-5)) throw new Error("A mean of ones is not 1");
    if (control() && Atomics.load(control(), ${cells.started}) === 1) break;
    await new Promise((resolve) => setTimeout(resolve, 5));
    if (time === 999) throw new Error("No worker begins: " + engine.reason);
  }
  const { reason } = engine;
  await engine.close();
  return reason;
}

export const say = (said) => writeSync(1, JSON.stringify(said));
`;
write("calls.mjs", calls);

write(
  "preloaded.mjs",
  `import threads from "node:worker_threads";
import { syncBuiltinESMExports } from "node:module";
import { callUntilBegun, say } from "./calls.mjs";

let control, opened = 0;
const { Worker } = threads;
threads.Worker = class extends Worker {
  constructor(source, options) {
    // Whoever pipes a worker's streams opens those of the process.
    const descriptors = ["stdout", "stderr"].map((name) => {
      const descriptor = Object.getOwnPropertyDescriptor(process, name);
      const get = () => (opened++, descriptor.get.call(process));
      Object.defineProperty(process, name, { configurable: true, get });
      return [name, descriptor];
    });
    super(source, options);
    for (const [name, descriptor] of descriptors) Object.defineProperty(process, name, descriptor);
    ({ control } = options.workerData);
  }
};
syncBuiltinESMExports();
const reason = await callUntilBegun(() => control);
say({ reason, opened, counts: [...new Int32Array(globalThis.counts)] });
`,
);

/** A script that counts how often it runs in the process, in a cell of what all threads share. */
function counting(cell: number): string {
  // Threads share nothing but what they are given: environment data go to workers as they start.
  return `const threads = process.getBuiltinModule
  ? process.getBuiltinModule("node:worker_threads")
  : require("node:worker_threads");
const counts = threads.getEnvironmentData("counts") ?? new SharedArrayBuffer(12);
threads.setEnvironmentData("counts", globalThis.counts = counts);
new Int32Array(counts)[${cell}]++;
`;
}
const [required, named, imported] = [
  write("required.cjs", counting(0)),
  write("named.cjs", counting(1)),
  write("imported.mjs", counting(2)),
];

for (const version of [versions.node20, versions.node22, versions.node26]) {
  test(`workers on Node ${version} run nothing that the main thread was started with`, () => {
    const { reason, opened, counts } = runOn<{ reason: string; opened: number; counts: number[] }>(
      version,
      ["--require", required, "--import", imported, "preloaded.mjs"],
      { NODE_OPTIONS: `--require ${named}` },
    );
    assertMatch(reason, / binary, 2 threads:/);
    assertEquals(counts, [1, 1, 1], "runs of --require, of NODE_OPTIONS and of --import");
    assertEquals(opened, 0, "streams of the process that were opened for a worker's");
  });
}

/**
 * What a renderer of Electron has, with Node beside the page and in its workers: Electron itself is
 * not on npm, whose package downloads it from elsewhere.
 */
const renderer = `import threads from "node:worker_threads";
import { resolveObjectURL } from "node:buffer";
import { syncBuiltinESMExports } from "node:module";

const { Worker: Thread } = threads, [type, isolated] = process.argv.slice(2);
if (type !== "none") process.type = type;
Object.defineProperty(process, "versions", { value: { ...process.versions, electron: "40.0.0" } });
globalThis.crossOriginIsolated = isolated === "true";

threads.Worker = class {
  constructor() {
    throw new Error(
      "The V8 platform used by this instance of Node does not support creating Workers",
    );
  }
};
syncBuiltinESMExports();

/** Runs a page's script: messages come to \`onmessage\`. */
const prelude = \`
globalThis.onmessage = undefined;
process.getBuiltinModule("node:worker_threads").parentPort
  .on("message", (data) => globalThis.onmessage({ data }));
\`;
export const messages = [];
globalThis.Worker = class {
  #thread;
  constructor(url) {
    this.#thread = resolveObjectURL(url).text().then((source) => {
      const thread = new Thread(prelude + source, { eval: true });
      thread.on("error", ({ message }) => this.onerror({ message }));
      return thread;
    });
  }
  async postMessage(data) {
    messages.push(data);
    (await this.#thread).postMessage(data);
  }
  async terminate() {
    await (await this.#thread).terminate();
  }
};
`;
write("renderer.mjs", renderer);
write(
  "electron.mjs",
  `import { messages } from "./renderer.mjs";
import { capabilities, createEngine } from "flashtile";
import { callUntilBegun, say } from "./calls.mjs";

const { threads, wasm } = await capabilities();
const reason = crossOriginIsolated ? await callUntilBegun(() => messages[0]?.control)
  : (await createEngine({ backend: "wasm" })).reason;
say({ threads, binary: wasm.binary, reason, started: messages.length });
`,
);

interface Rendered {
  readonly threads: { readonly available: boolean; readonly reason: string };
  readonly binary: string;
  readonly reason: string;
  readonly started: number;
}

for (const isolated of [true, false]) {
  const words = isolated ? "cross-origin isolated" : "not isolated";
  test(`Electron's renderer, imitated, ${words}: threads as in any page`, () => {
    const { threads, binary, reason, started } = runOn<Rendered>(
      versions.node26,
      ["electron.mjs", "renderer", String(isolated)],
    );
    assertEquals([threads.available, started], [isolated, isolated ? 1 : 0]);
    if (!isolated) assertMatch(threads.reason, /COOP and COEP/);
    assertMatch(reason, isolated ? / binary, 2 threads:/ : / binary, one thread:/);
    keepFinding({
      ...{ runtime: "Electron's renderer", version: "", group: "imitated", binary },
      ...{ threads: threads.available, isolated, tried: "its globals, imitated on Node" },
    });
  });
}

test("a page with Node beside it that says nothing of Electron: its workers are taken", () => {
  const { reason, started } = runOn<Rendered>(versions.node26, ["electron.mjs", "none", "true"]);
  assertEquals(started, 1);
  assertMatch(reason, / binary, 2 threads:/);
});
