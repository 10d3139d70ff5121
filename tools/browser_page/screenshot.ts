/**
 * `deno task browser:screenshot [NAME...]`: opens the pages and keeps what they look like, for the
 * documents; only the pictures of these names, where some are given.
 *
 * @module
 */

import "../help.ts";
import { mkdirSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { Page } from "playwright-core";
import { serve as serveStory } from "../../examples/story/serve.ts";
import { run, type Visit, visit } from "./visit.ts";

const folder = fileURLToPath(new URL("../../docs/images/", import.meta.url));

/** A picture, and what is done on the page before it is taken. */
interface Picture {
  readonly name: string;
  readonly visit: Visit;
  readonly act: (page: Page) => Promise<void>;
  /** What is taken: the whole page, or as much as the window shows. */
  readonly fullPage: boolean;
}

const light = { colorScheme: "light" } as const, dark = { colorScheme: "dark" } as const;

/** Goes to a part of an algorithm's film, plays on from there for a moment, and scrolls to it. */
async function playFrom(page: Page, algorithm: string, part: number): Promise<void> {
  await page.locator(`label:has([value=${algorithm}])`).click();
  // As text: it is run in the page.
  await page.evaluate(`{
    const slider = document.getElementById("position");
    slider.value = Math.round(${part} * slider.max);
    slider.dispatchEvent(new Event("input"));
  }`);
  await page.click("#play");
  await page.waitForTimeout(260);
  // Below the sliders, which stay in sight.
  await page.evaluate("scrollTo(0, document.querySelector('.tale').offsetTop - 110)");
}

const pictures: readonly Picture[] = [
  {
    name: "browser",
    visit: { browser: { viewport: { width: 900, height: 1060 }, ...light } },
    act: (page) => run(page, 1024),
    fullPage: true,
  },
  {
    name: "story",
    visit: { serves: serveStory, browser: { viewport: { width: 980, height: 900 }, ...light } },
    act: (page) => playFrom(page, "naive", 0.58),
    fullPage: false,
  },
  {
    name: "story_flash",
    visit: { serves: serveStory, browser: { viewport: { width: 980, height: 900 }, ...dark } },
    act: (page) => playFrom(page, "flash1", 0.4),
    fullPage: false,
  },
];

async function take({ name, visit: how, act, fullPage }: Picture): Promise<void> {
  await visit(how, async ({ page }) => {
    await act(page);
    // Without the pointer's and the keyboard's traces.
    await page.mouse.move(0, 0);
    await page.evaluate("document.activeElement.blur()");
    await page.screenshot({ path: `${folder}${name}.png`, fullPage });
  });
}

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => pictures.every((picture) => picture.name !== name));
if (unknown !== undefined) {
  throw new Error(`There is no picture ${unknown}: take ${pictures.map(({ name }) => name)}`);
}
mkdirSync(folder, { recursive: true });
for (const picture of pictures) {
  if (wanted.length === 0 || wanted.includes(picture.name)) await take(picture);
}
