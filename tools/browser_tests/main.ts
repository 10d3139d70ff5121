/**
 * Runs bundled tests in Chromium without a window, each file in a page of its own, and writes a
 * JUnit report as the runtimes' own runners do.
 *
 *     deno run -A tools/browser_tests/main.ts NAMES REPORT FOLDER
 *
 * `NAMES` is a regular expression for the tests to run. `FOLDER`
 * has the bundles: the tests, and `page.ts` under its own path.
 *
 * @module
 */

import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import type { Browser, Page } from "playwright-core";
import { launchChromium } from "../chromium.ts";
import { isolation } from "../isolation.ts";
import type { Result } from "./page.ts";

const [names, report, folder] = process.argv.slice(2);

/** WebGPU needs this host. Nothing listens there: requests are answered from the folder. */
const origin = "http://localhost";

/** The results of a test file. */
interface Suite {
  readonly file: string;
  readonly results: readonly Result[];
}

async function openPage(browser: Browser): Promise<Page> {
  const page = await browser.newPage();
  await page.route("**/*", (route) => {
    const { pathname } = new URL(route.request().url());
    return pathname === "/"
      ? route.fulfill({ contentType: "text/html", body: "<!doctype html>", headers: isolation })
      : route.fulfill({ path: join(folder, pathname), headers: isolation });
  });
  page.on("console", (message) => console.log(message.text()));
  for (const name of ["FLASHTILE_REQUIRE_GPU", "FLASHTILE_TESTS", "FLASHTILE_SEED"]) {
    await page.addInitScript(`${name} = "${process.env[name] ?? ""}"`);
  }
  await page.goto(origin);
  return page;
}

/** Rejects when the page breaks outside of a test. */
function breaking(page: Page): Promise<never> {
  return new Promise((_, reject) => {
    page.on("pageerror", reject);
    page.on("crash", () => reject(new Error("The page crashed")));
  });
}

/** Runs the tests of a file. Where the page breaks, that is a failure of what ran. */
async function runFile(browser: Browser, file: string): Promise<Suite> {
  const page = await openPage(browser), results: Result[] = [];
  let running = `${file} can be loaded`;
  await page.exposeFunction("begin", (name: string) => void (running = name));
  await page.exposeFunction("end", (result: Result) => void results.push(result));
  const run = `import("/tools/browser_tests/page.js").then(({ runTests }) =>
    runTests(${JSON.stringify(`/${file}`)}, ${JSON.stringify(names)}, { begin, end }))`;
  try {
    await Promise.race([page.evaluate(run), breaking(page)]);
  } catch (error) {
    results.push({ name: running, seconds: 0, error: String(error) });
  }
  await page.close();
  return { file, results };
}

function printSuite({ file, results }: Suite): void {
  const seconds = results.reduce((sum, result) => sum + result.seconds, 0);
  const failures = results.filter(({ error }) => error !== undefined);
  console.log(
    `${file}: ${results.length} tests, ${failures.length} failed, ${seconds.toFixed(1)} s`,
  );
  for (const { name, error } of failures) console.error(`\n${name}\n${error}\n`);
}

function escapeXml(text: string): string {
  return text.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

function caseElement({ name, seconds, skipped, error }: Result): string {
  const inside = error !== undefined
    ? `<failure>${escapeXml(error)}</failure>`
    : skipped !== undefined
    ? `<skipped message="${escapeXml(skipped)}"/>`
    : "";
  return `<testcase name="${escapeXml(name)}" time="${seconds}">${inside}</testcase>`;
}

function junit(suites: readonly Suite[]): string {
  const elements = suites.map(({ file, results }) =>
    `<testsuite name="${escapeXml(file)}">\n${results.map(caseElement).join("\n")}\n</testsuite>\n`
  );
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${
    elements.join("")
  }</testsuites>\n`;
}

const browser = await launchChromium();
const suites: Suite[] = [];
try {
  const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
  for (const file of files.filter((file) => file.endsWith(".test.js")).sort()) {
    suites.push(await runFile(browser, file));
    printSuite(suites.at(-1)!);
    // After each file, so that a run that is cut short has told what it did.
    writeFileSync(report, junit(suites));
  }
} finally {
  await browser.close();
}
const failed = suites.flatMap(({ results }) => results).some(({ error }) => error !== undefined);
process.exitCode = failed ? 1 : 0;
