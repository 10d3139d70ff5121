/**
 * A visit to a page of the examples, by a browser without a window.
 *
 * @module
 */

import type { BrowserContextOptions, Page } from "playwright-core";
import { serve } from "../../examples/browser/serve.ts";
import type { Served } from "../../examples/serve_page.ts";
import { launchChromium } from "../chromium.ts";

/** Longest wait for a run: shaders are compiled and run on the CPU, slowly. */
const patience = 120_000;

/** What a visitor does and has. */
export interface Visit {
  /** Serves the page; that of `examples/browser/` by default. */
  readonly serves?: (port: number) => Served;
  /** A script that the page finds run already. */
  readonly before?: string;
  readonly browser?: BrowserContextOptions;
}

/** The page, and what it complained of. */
export interface Visited {
  readonly page: Page;
  /** Errors that nobody caught, and those written to the console. */
  readonly complaints: readonly string[];
}

/** Serves the page, opens it, and ends both when `look` is done. */
export async function visit<T>(
  { serves = serve, before, browser: options }: Visit,
  look: (visited: Visited) => Promise<T>,
): Promise<T> {
  await using served = serves(0);
  const browser = await launchChromium();
  try {
    const page = await browser.newPage(options);
    const complaints = listen(page);
    if (before !== undefined) await page.addInitScript(before);
    await page.goto(served.url);
    await enters(page, "ready");
    return await look({ page, complaints });
  } finally {
    await browser.close();
  }
}

function listen(page: Page): string[] {
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  return complaints;
}

/** Waits until the page is in a state. */
export async function enters(page: Page, state: string): Promise<void> {
  await page.waitForSelector(`body[data-state="${state}"]`, { timeout: patience });
}

/** Runs the page to its end. */
export async function run(page: Page, largest: number): Promise<void> {
  await page.selectOption("[name=largest]", String(largest));
  await page.click("#run");
  await enters(page, "done");
}

/** The numbers of the table: a row for each length, `NaN` where a cell has none. */
export async function readTable(page: Page): Promise<number[][]> {
  const rows = await page.locator("#rows tr").all();
  return await Promise.all(rows.map(async (row) => {
    const texts = await row.locator("th, td").allTextContents();
    return texts.map(Number);
  }));
}
