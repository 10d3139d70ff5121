/**
 * The tests of the page in Firefox, which has WebGPU only where it is turned on.
 *
 * @module
 */

import { test } from "node:test";
import { assertEquals, assertLess, assertMatch } from "@std/assert";
import type { Page } from "puppeteer-core";
import { serve } from "../../examples/browser/serve.ts";
import { type BrowserName, withBrowser } from "../browsers.ts";
import { tolerance } from "./tolerance.ts";

/** Serves the page, runs it to its end, and lends it. */
async function runPage(name: BrowserName, look: (page: Page) => Promise<void>): Promise<void> {
  await using served = serve(0);
  await withBrowser(name, async (browser) => {
    const page = await browser.newPage(), complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(served.url);
    await enters(page, "ready");
    await page.select("[name=largest]", "128");
    await page.click("#run");
    await enters(page, "done");
    await look(page);
    assertEquals(complaints, []);
  });
}

async function enters(page: Page, state: string): Promise<void> {
  await page.waitForSelector(`body[data-state="${state}"]`, { timeout: 120_000 });
}

async function textOf(page: Page, selector: string): Promise<string> {
  return await page.$eval(selector, (element) => (element as HTMLElement).innerText);
}

/** The numbers of the table: a row for each length, `NaN` where a cell has none. */
async function readTable(page: Page): Promise<number[][]> {
  const text = await textOf(page, "#rows");
  return text.trim().split("\n").map((row) => row.split("\t").map(Number));
}

test("the page runs WebAssembly on threads in Firefox, and says that there is no WebGPU", async () => {
  await runPage("Firefox", async (page) => {
    assertMatch(await textOf(page, "#wasm-card"), /relaxed binary, \d+ threads:/i);
    assertMatch(await textOf(page, "#webgpu-card"), /no `navigator\.gpu`/);
    const table = await readTable(page);
    assertEquals(table.map(([length]) => length), [64, 128]);
    for (const [, , , error, ...webgpu] of table) {
      assertLess(error, tolerance);
      assertEquals(webgpu, [NaN, NaN, NaN]);
    }
    assertEquals(await textOf(page, "#troubles"), "");
  });
});

test("the page runs both backends in Firefox with WebGPU", async () => {
  await runPage("Firefox with WebGPU", async (page) => {
    const table = await readTable(page);
    assertEquals(table.length, 2);
    for (const [, , , wasm, , , webgpu] of table) {
      assertLess(wasm, tolerance);
      assertLess(webgpu, tolerance);
    }
    assertEquals(await textOf(page, "#troubles"), "");
  });
});
