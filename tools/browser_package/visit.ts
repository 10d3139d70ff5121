/**
 * A visit to a page of the package by a browser without a window.
 *
 * @module
 */

import type { Page } from "puppeteer-core";
import { type BrowserName, withBrowser } from "../browsers.ts";
import type { Checks } from "./page.ts";

/** A page, and what it did. */
export interface Visited {
  /** The browser's version. */
  readonly version: string;
  /** Runs something of the page's `checks` there. */
  ask<Name extends keyof Checks>(
    name: Name,
    ...given: Parameters<Checks[Name]>
  ): Promise<Awaited<ReturnType<Checks[Name]>>>;
  /** The value of an expression in the page. */
  evaluate<T>(expression: string): Promise<T>;
  /** Origins of everything that the page asked for. */
  readonly origins: ReadonlySet<string>;
  /** Errors that nobody caught, and those written to the console. */
  readonly complaints: readonly string[];
}

/** Opens a page, and closes the browser when `look` is done. */
export async function visit(
  name: BrowserName,
  url: string,
  look: (visited: Visited) => Promise<void>,
): Promise<void> {
  await withBrowser(name, async (browser, version) => {
    const page = await browser.newPage();
    const origins = watchRequests(page), complaints = watchComplaints(page);
    // A page is loaded once its modules have run.
    await page.goto(url, { waitUntil: "load" });
    await look({
      version,
      // As text: it is run in the page.
      ask: (check, ...given) =>
        page.evaluate(`checks[${JSON.stringify(check)}](...${JSON.stringify(given)})`) as never,
      evaluate: <T>(expression: string) => page.evaluate(expression) as Promise<T>,
      origins,
      complaints,
    });
  });
}

function watchRequests(page: Page): ReadonlySet<string> {
  const origins = new Set<string>();
  page.on("request", (request) => {
    // Of what a page has made itself, too: `blob:` has the origin of its maker.
    const { protocol, origin } = new URL(request.url());
    if (protocol !== "data:") origins.add(origin);
  });
  return origins;
}

function watchComplaints(page: Page): readonly string[] {
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  return complaints;
}
