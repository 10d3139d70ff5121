/**
 * The npm package in a service worker, and in an extension's: both are forbidden `import()`, and have
 * no workers; pages of an extension have both.
 *
 * @module
 */

import process from "node:process";
import { test } from "node:test";
import { assertEquals, assertMatch } from "@std/assert";
import type { Browser, Page, Target, WebWorker } from "puppeteer-core";
import { withBrowser } from "../browsers.ts";
import { keepFinding } from "../runtime_table.ts";
import type { Checks } from "./page.ts";
import { serveFolder } from "./server.ts";
import { sitesIn } from "./sites.ts";

const { serviceWorker, extension, hasSingle } = sitesIn(process.env.FLASHTILE_SITES!);

/** What is tried of the package; gradients are loaded by `import()` but in the script that has all. */
const tried = hasSingle ? "attention, a cache and gradients" : "attention and a cache";

/** Asks a worker or a page for something of `checks`. */
type Ask = <Name extends keyof Checks>(
  name: Name,
  ...given: Parameters<Checks[Name]>
) => Promise<Awaited<ReturnType<Checks[Name]>>>;

async function checkWorker(runtime: string, version: string, ask: Ask): Promise<void> {
  const { backend, reason } = await ask("answers", {}, hasSingle);
  assertEquals(backend, "wasm");
  assertMatch(reason, /^relaxed binary, one thread: this engine fuses/);
  const webgpu = hasSingle ? await checkRest(ask) : undefined;
  assertEquals(await ask("complaints"), []);
  keepFinding({
    ...{ runtime, version, group: "workers", binary: "relaxed", threads: false, webgpu },
    tried: hasSingle ? `${tried}, by \`flashtile/single\`` : tried,
  });
}

/** What is loaded by `import()` but in the script that has all; tells where WebGPU is from. */
async function checkRest(ask: Ask): Promise<string> {
  const { threads, webgpu } = await ask("capabilities");
  assertEquals(threads.available, false);
  if (!webgpu.available) return "no";
  assertEquals((await ask("answers", { backend: "webgpu" }, false)).backend, "webgpu");
  return "its own";
}

/** Registers the site's service worker from a page. */
async function register(page: Page): Promise<void> {
  await page.evaluate(`(async () => {
    const type = ${JSON.stringify(hasSingle ? "classic" : "module")};
    await navigator.serviceWorker.register("/service_worker.js", { type });
    globalThis.worker = (await navigator.serviceWorker.ready).active;
  })()`);
}

/** Asks the service worker by messages. */
function asking(page: Page): Ask {
  const ask = (...question: unknown[]) =>
    page.evaluate(`new Promise((resolve, reject) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data: { value, error } }) => error ? reject(Error(error)) : resolve(value);
      worker.postMessage(${JSON.stringify(question)}, [port2]);
    })`);
  return ask as Ask;
}

for (const browser of ["Chromium", "Firefox"] as const) {
  test(`a service worker in ${browser}: ${tried}`, async () => {
    await using server = serveFolder(serviceWorker, {});
    await withBrowser(browser, async (opened, version) => {
      const page = await opened.newPage();
      await page.goto(server.url);
      await register(page);
      await checkWorker(`Service worker, ${browser}`, version, asking(page));
    });
    assertEquals(server.missed, []);
  });
}

async function workerOf(browser: Browser): Promise<{ url: string; worker: WebWorker }> {
  const isWorker = (target: Target) => target.type() === "service_worker";
  const target = await browser.waitForTarget(isWorker);
  return { url: target.url(), worker: (await target.worker())! };
}

test(`a background service worker of an extension (MV3) in Chromium: ${tried}`, async () => {
  await withBrowser("Chromium", async (browser, version) => {
    const { worker } = await workerOf(browser);
    const ask: Ask = (name, ...given) =>
      worker.evaluate(`checks.${name}(...${JSON.stringify(given)})`) as never;
    await checkWorker("Background of an extension, Chromium", version, ask);
  }, { enableExtensions: [extension] });
});

test("a page of an extension (MV3) in Chromium: threads, also by workerUrl", async () => {
  await withBrowser("Chromium", async (browser, version) => {
    const { url } = await workerOf(browser), page = await browser.newPage();
    await page.goto(new URL("/index.html", url).href, { waitUntil: "load" });
    const ask: Ask = (name, ...given) =>
      page.evaluate(`checks.${name}(...${JSON.stringify(given)})`) as never;
    assertEquals((await ask("capabilities")).threads.available, true);
    const address = await page.evaluate("workerUrl") as string;
    for (const given of [[], [address]] as const) {
      assertMatch(await ask("worker", ...given), /^relaxed binary, 2 threads:/);
    }
    keepFinding({
      ...{ runtime: "Page of an extension, Chromium", version, group: "workers" },
      ...{ binary: "relaxed", threads: true, isolated: true, tried: "attention" },
    });
  }, { enableExtensions: [extension] });
});
