/**
 * The package in a project of Next's: a route of its edge runtime, one of Node's, and one that passes a
 * binary as `module`; built, and asked.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { expectRight } from "../edge_tests/right.ts";
import { install, runtimeProgram, versions } from "../install.ts";
import { runIn } from "../package_tests/child.ts";
import { keepFinding } from "../runtime_table.ts";
import { makeHostProject } from "./project.ts";

const modules = install("next", [
  `next@${versions.next}`,
  `react@${versions.react}`,
  `react-dom@${versions.react}`,
]);
const node = runtimeProgram("node", versions.node26);
const command = [node, join(modules, "next", "dist", "bin", "next")];
const environment = { NEXT_TELEMETRY_DISABLED: "1" };

/** A folder under Next's own: it takes nothing from outside of the root of a project. */
const project = mkdtempSync(join(dirname(modules), "project-"));
let server: ChildProcess | undefined;
after(() => {
  server?.kill("SIGKILL");
  rmSync(project, { recursive: true, force: true });
});

/** Writes a route that answers with JSON. */
function writeRoute(name: string, runtime: "edge" | "nodejs", head: string, answer: string): void {
  const folder = join(project, "app", name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(
    join(folder, "route.js"),
    `${head}
export const runtime = "${runtime}";
export const dynamic = "force-dynamic";
export async function GET() {
  try {
    return Response.json(await ${answer});
  } catch (error) {
    return new Response(error.stack, { status: 500 });
  }
}
`,
  );
}

const calls = 'import { check } from "../../check-flashtile.js";';

const passing = `import { createEngine } from "flashtile";
import module from "flashtile/relaxed.wasm?module";
async function pass() {
  const ones = { data: new Float32Array(2 * 100 * 64).fill(1), shape: [2, 100, 64] };
  const engine = await createEngine({ module });
  const { out } = await engine.attention(ones, ones, ones);
  return { reason: engine.reason, wrong: out.data.some((x) => Math.abs(x - 1) > 2e-6) };
}`;

function writeProject(): void {
  cpSync(makeHostProject("next"), project, { recursive: true });
  writeRoute("edge", "edge", calls, "check()");
  writeRoute("node", "nodejs", calls, "check()");
  writeRoute("module", "edge", passing, "pass()");
  writeFileSync(
    join(project, "app", "layout.js"),
    "export default ({ children }) => <html><body>{children}</body></html>;\n",
  );
  const root = JSON.stringify(dirname(modules));
  writeFileSync(
    join(project, "next.config.js"),
    `export default { turbopack: { root: ${root} } };`,
  );
}

/** Starts the server of a project that was built; returns its address. */
function serve(): Promise<string> {
  const child = spawn(command[0], [command[1], "start", "-H", "127.0.0.1", "-p", "0"], {
    cwd: project,
    env: { ...process.env, ...environment },
    timeout: 60_000,
  });
  server = child;
  return new Promise((resolve, reject) => {
    let said = "";
    const listen = (text: unknown) => {
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(said += text);
      if (url !== null) resolve(url[0]);
    };
    child.stdout.on("data", listen);
    child.stderr.on("data", listen);
    child.on("exit", (code) => reject(new Error(`next start ended with ${code}:\n${said}`)));
  });
}

async function ask(url: string) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(30_000) });
  const text = await answer.text();
  assertEquals(answer.status, 200, text);
  return JSON.parse(text);
}

/** Every test begins with it, and the first waits for it. */
const served = (async () => {
  writeProject();
  runIn(project, [...command, "build"], environment);
  return await serve();
})();
served.catch(() => {}); // The tests say so.

function keep(route: string, { reason }: { readonly reason: string }): void {
  const [binary] = reason.split(" "), threads = / threads/.test(reason);
  keepFinding({
    ...{ runtime: `Next's ${route} runtime`, version: versions.next, group: "frameworks" },
    ...{ binary, threads, tried: "built by Turbopack, asked" },
  });
}

test(`Next ${versions.next} runs flashtile in a route of its edge runtime, compiled ahead`, async () => {
  const checked = await ask(`${await served}/edge`);
  expectRight(checked);
  assertMatch(checked.reason, /^simd binary, one thread: compiled before/);
  keep("edge", checked);
});

test(`Next ${versions.next} runs flashtile in a route of Node`, async () => {
  const checked = await ask(`${await served}/node`);
  expectRight(checked);
  assertMatch(checked.reason, /^relaxed binary, \d+ threads/);
  keep("Node", checked);
});

test(`Next ${versions.next} gives flashtile/relaxed.wasm?module as \`module\``, async () => {
  const { wrong } = await ask(`${await served}/module`);
  assertEquals(wrong, false);
});
