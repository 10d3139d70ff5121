/**
 * The npm package in WebKit, as `package.test.ts` has it in Chromium and Firefox. It is the engine of
 * Safari and of every browser on iOS, but for what Debian's build leaves out: WebGPU, and shared memory
 * unless that is turned on.
 *
 * @module
 */

import process from "node:process";
import { test } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import { isolation } from "../isolation.ts";
import { keepFinding } from "../runtime_table.ts";
import { sharedMemory, visitWebKit, type WebKitPage } from "../webkit.ts";
import type { Checks } from "./page.ts";
import { type Headers, serveFolder } from "./server.ts";
import { sitesIn } from "./sites.ts";

const { plain, vite } = sitesIn(process.env.FLASHTILE_SITES!);
const sites = { "a script tag": plain, "a page built by Vite": vite };

interface Seen extends WebKitPage {
  ask<Name extends keyof Checks>(
    name: Name,
    ...given: Parameters<Checks[Name]>
  ): Promise<Awaited<ReturnType<Checks[Name]>>>;
}

/** Visits a site, which must not ask for anything but its own files, and complain of nothing. */
async function visitSite(
  { folder, headers, environment }: {
    folder: string;
    headers: Headers;
    environment?: Readonly<Record<string, string>>;
  },
  look: (seen: Seen) => Promise<void>,
): Promise<void> {
  await using server = serveFolder(folder, headers);
  await visitWebKit(server.url, async (page) => {
    const ask: Seen["ask"] = (check, ...given) =>
      page.evaluate(`checks.${check}(...${JSON.stringify(given)})`);
    await look({ ...page, ask });
    assertEquals(await ask("complaints"), []);
    const names = 'performance.getEntriesByType("resource").map(({ name }) => name)';
    const origins = (await page.evaluate<string[]>(names)).map((name) => new URL(name).origin);
    assertEquals([...new Set(origins)], [new URL(server.url).origin]);
  }, environment);
  assertEquals(server.missed, []);
}

/** Keeps for the tables what a page is offered. */
async function note(runtime: string, { version, ask, evaluate }: Seen): Promise<void> {
  const { wasm, threads, webgpu } = await ask("capabilities");
  keepFinding({
    ...{ runtime, version, group: "pages", binary: wasm.binary!, tried: "the package" },
    ...{ threads: threads.available, isolated: await evaluate<boolean>("crossOriginIsolated") },
    webgpu: webgpu.available ? "its own" : "no",
  });
}

for (const [name, folder] of Object.entries(sites)) {
  for (const [words, headers] of Object.entries({ isolated: isolation, "not isolated": {} })) {
    test(`${name} in WebKit: attention, gradients and a cache on one thread, ${words}`, async () => {
      await visitSite({ folder, headers }, async (seen) => {
        const { threads, wasm, webgpu } = await seen.ask("capabilities");
        assertEquals([wasm.binary, threads.available, webgpu.available], ["simd", false, false]);
        const { backend, reason } = await seen.ask("answers", {});
        assertEquals(backend, "wasm");
        assertMatch(reason, /^simd binary, one thread: this engine has no relaxed SIMD/);
        const refused = { name: "BackendUnavailableError" };
        assertEquals(await seen.ask("refusal", { threads: 2 }), {
          ...refused,
          message: `Cannot use the wasm backend: it cannot have 2 threads: ${threads.reason}`,
        });
        assertEquals(await seen.ask("refusal", { backend: "webgpu" }), {
          ...refused,
          message: `Cannot use the webgpu backend: ${webgpu.reason}`,
        });
        await note("WebKit", seen);
      });
    });
  }
}

const policy = "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'";

test("a script tag in WebKit with shared memory, as Safari has it: threads, and a policy", async () => {
  const headers = { ...isolation, "Content-Security-Policy": policy };
  await visitSite({ folder: plain, headers, environment: sharedMemory }, async (seen) => {
    const { threads } = await seen.ask("capabilities");
    assertEquals(threads.available, true);
    const { started, reason } = await seen.ask("calls", { threads: 2 });
    assertEquals(started, 1);
    assertMatch(reason, /^simd binary, one thread \(no worker can begin: .*`workerUrl`\)/);
    const url = await seen.evaluate<string>("workerUrl");
    assertMatch(await seen.ask("worker", url), /^simd binary, 2 threads:/);
    await note("WebKit with shared memory", seen);
  });
});

test("a page built by Vite in WebKit with shared memory: attention, gradients and threads", async () => {
  await visitSite({ folder: vite, headers: isolation, environment: sharedMemory }, async (seen) => {
    await seen.ask("answers", { threads: 2 });
    assertMatch(await seen.ask("worker"), /^simd binary, 2 threads:/);
  });
});
