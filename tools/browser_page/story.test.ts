/**
 * The tests of the story's page, in Chromium.
 *
 * @module
 */

import { test } from "node:test";
import {
  assert,
  assertEquals,
  assertGreater,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import type { Page } from "playwright-core";
import { type AlgorithmName, algorithms } from "../../examples/story/chapters.ts";
import { serve } from "../../examples/story/serve.ts";
import { enters, type Visit, visit, type Visited } from "./visit.ts";

/** Opens the story, and looks at what it complained of in the end. */
async function visitStory(
  look: (visited: Visited) => Promise<void>,
  how: Visit = {},
): Promise<void> {
  await visit({ ...how, serves: serve }, async (visited) => {
    await look(visited);
    assertEquals(visited.complaints, []);
  });
}

/** Moves a slider to a stop. */
async function slide(page: Page, id: string, stop: number | "end"): Promise<void> {
  // As text: it is run in the page.
  await page.evaluate(`{
    const slider = document.getElementById("${id}");
    slider.value = ${stop === "end" ? "slider.max" : stop};
    slider.dispatchEvent(new Event("input"));
  }`);
}

async function choose(page: Page, name: AlgorithmName): Promise<void> {
  await page.locator(`label:has([value=${name}])`).click();
}

async function numbersOf(page: Page, ...ids: string[]): Promise<number[]> {
  const texts = await Promise.all(ids.map((id) => page.innerText(`#${id}`)));
  return texts.map((text) => Number(text.replaceAll(",", "")));
}

/** Waits until the picture is of these sizes: sliders come to rest before anything is run. */
async function rests(page: Page): Promise<void> {
  await page.waitForFunction("Number(document.getElementById('position').max) > 0");
  await page.waitForTimeout(300);
}

test("the story counts in the page what the formulas say, for every algorithm", async () => {
  await visitStory(async ({ page }) => {
    for (const { name, title, traffic } of algorithms) {
      await choose(page, name);
      assertEquals(await page.innerText("#title"), title);
      await slide(page, "position", "end");
      const { reads, writes } = traffic({ n: 128, d: 32, m: 4096 });
      const shown = ["reads", "writes", "formula-reads", "formula-writes"];
      assertEquals(await numbersOf(page, ...shown), [reads, writes, reads, writes], title);
    }
  });
});

test("the story plays, pauses, steps and begins again", async () => {
  await visitStory(async ({ page }) => {
    await page.click("#play");
    assertEquals(await page.innerText("#play"), "Pause");
    await page.waitForFunction("Number(document.getElementById('position').value) >= 2");
    await page.click("#play");
    const [paused] = [Number(await page.inputValue("#position"))];
    await page.click("#step");
    assertEquals(Number(await page.inputValue("#position")), paused + 1);
    assertMatch(
      await page.innerText("#caption"),
      new RegExp(`^Move ${paused + 1} of 40: (read|write)`),
    );
    await page.click("#restart");
    assertEquals(await page.inputValue("#position"), "0");
    await slide(page, "position", 38);
    await page.click("#play");
    await page.waitForFunction("document.getElementById('play').textContent === 'Play'");
    assertMatch(
      await page.innerText("#caption"),
      /^Move 40 of 40: write O\[96…127\]: 1,024 numbers/,
    );
  });
});

/** How many pixels of the picture are of a colour of the style sheet, about. */
function countPixels(page: Page, name: string): Promise<number> {
  return page.evaluate(`{
    const canvas = document.getElementById("canvas"), context = canvas.getContext("2d");
    const wanted = getComputedStyle(document.documentElement).getPropertyValue("--${name}")
      .match(/[0-9a-f]{2}/g).map((digits) => parseInt(digits, 16));
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (wanted.every((value, index) => Math.abs(data[at + index] - value) < 40)) count++;
    }
    count;
  }`);
}

test("the story draws tiles in fast memory", async () => {
  await visitStory(async ({ page }) => {
    const before = await countPixels(page, "read");
    await page.click("#step");
    assertGreater(await countPixels(page, "read"), before + 500);
  });
});

test("the story shows bars, formulas and chart of the sizes that its sliders have", async () => {
  await visitStory(async ({ page }) => {
    const [before] = await numbersOf(page, "formula-reads");
    await slide(page, "n", 6), await slide(page, "m", 5);
    await slide(page, "n", 8), await slide(page, "m", 12);
    await rests(page);
    assertEquals(await page.innerText("#n-out"), "256");
    assertEquals(await page.getAttribute("#m", "aria-valuetext"), "8,192");
    const [after, counted] = await numbersOf(page, "formula-reads", "reads");
    assertGreater(after, before);
    assertEquals(counted, 0);
    assertMatch(await page.innerText("#crossing"), /at N = 256 and d = 32.* from M = [\d,]+ on\.$/);
    assertStringIncludes(await page.innerText("#chart"), "M = 8,192");
    await slide(page, "n", 0);
    assertMatch(await page.innerText("#crossing"), /moves more than naive attention for any M/);
  });
});

test("the story says which sizes it cannot use, and goes on with others", async () => {
  await visitStory(async ({ page }) => {
    await slide(page, "m", 0);
    assertMatch(await page.innerText("#refusal"), /M = 128 .* take M >= 224/);
    assert(await page.isDisabled("#play"));
    for (const { name, title } of algorithms) {
      await choose(page, name);
      assertEquals(await page.innerText("#title"), title);
      assertMatch(await page.innerText("#refusal"), /take M >= 224/);
    }
    await slide(page, "m", 2), await slide(page, "n", "end");
    await choose(page, "naive");
    await page.waitForFunction("document.getElementById('refusal').textContent.includes('moves')");
    assertMatch(await page.innerText("#refusal"), /take a larger M or a smaller N/);
    await slide(page, "m", 12);
    await page.waitForFunction("!document.getElementById('play').disabled");
    await rests(page);
    assertEquals(await page.innerText("#refusal"), "");
  });
});

test("the story shows the code that is counted, and says when it cannot be had", async () => {
  await visitStory(async ({ page }) => {
    for (const { name, code: [[, first]] } of algorithms) {
      await choose(page, name);
      // What stood there before is still there until its own has come.
      await page.waitForFunction(
        `document.getElementById('code').textContent.includes(' ${first}')`,
      );
      assertStringIncludes(await page.innerText("#code"), "memory");
    }
    assertStringIncludes(await page.innerText("#code"), "function splitDecoding(");
  });
  // Without the check for complaints: Chromium writes of requests that fail.
  await visit({ serves: serve }, async ({ page }) => {
    await page.route("**/tiled.ts", (route) => route.abort());
    await choose(page, "tiled");
    await page.waitForFunction("document.getElementById('code').textContent.startsWith('Cannot')");
    assertMatch(
      await page.innerText("#code"),
      /^Cannot load tiled\.ts .*is the page still served\?/,
    );
  });
});

test("the story measures the library in the page, and stops when it is told to", async () => {
  await visitStory(async ({ page }) => {
    await page.click("#run");
    await enters(page, "running");
    await page.click("#run");
    await enters(page, "stopped");
    await page.click("#run");
    await enters(page, "done");
    for (const id of ["own-attention", "own-decoding"]) {
      const rows = await page.locator(`#${id} tbody tr`).allInnerTexts();
      const cells = rows.map((row) => row.split("\t").map(Number));
      assertEquals(cells.map(([n]) => n), [512, 1024, 2048]);
      for (const row of cells) {
        assertEquals(row.length, 7);
        for (const cell of row) assertGreater(cell, 0);
      }
    }
    assertMatch(await page.innerText("#status"), /^Done by (relaxed|simd) binary/i);
  });
});

test("the story says why it cannot measure", async () => {
  const before = "WebAssembly.validate = () => false";
  await visitStory(async ({ page }) => {
    await page.click("#run");
    await enters(page, "refused");
    assertMatch(await page.innerText("#status"), /\w+/);
    assertEquals(await page.innerText("#run"), "Measure");
  }, { before });
});

test("the story fits a narrow page, in either colour scheme, and asks nobody else", async () => {
  for (const colorScheme of ["light", "dark"] as const) {
    await visitStory(async ({ page }) => {
      const others: string[] = [];
      page.on("request", (request) => others.push(request.url()));
      for (const { name } of algorithms) {
        await choose(page, name);
        await slide(page, "position", "end");
        assertEquals(await page.evaluate("document.documentElement.scrollWidth"), 390);
      }
      const origin = new URL(page.url()).origin;
      assertEquals(others.filter((url) => !url.startsWith(origin)), []);
    }, { browser: { viewport: { width: 390, height: 844 }, colorScheme } });
  }
});

test("the story is told by the keyboard, and without motion where that is asked for", async () => {
  await visitStory(async ({ page }) => {
    await page.focus("[value=flash2]");
    await page.keyboard.press("ArrowDown");
    assertEquals(await page.innerText("#title"), "Backward, P remembered");
    await page.focus("#n");
    await page.keyboard.press("ArrowLeft");
    assertEquals(await page.innerText("#n-out"), "96");
    await rests(page);
    await page.focus("#play");
    await page.keyboard.press("Space");
    await page.waitForFunction("Number(document.getElementById('position').value) >= 2");
    await page.keyboard.press("Space");
    assertEquals(await page.innerText("#play"), "Play");
  }, { browser: { reducedMotion: "reduce" } });
});
