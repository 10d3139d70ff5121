/**
 * The tests of the page. Not in `tests/`: they need a browser, and are one run of `deno task test:all`.
 *
 * @module
 */

import { test } from "node:test";
import { assert, assertEquals, assertGreater, assertLess, assertMatch } from "@std/assert";
import type { Page } from "playwright-core";
import { tolerance } from "./tolerance.ts";
import { enters, readTable, run, visit } from "./visit.ts";

/** How many pixels of a canvas have a colour of the style sheet. */
function countPixels(page: Page, canvas: string, colour: string): Promise<number> {
  // As text: it is run in the page.
  return page.evaluate(`{
    const canvas = document.getElementById("${canvas}"), context = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    const wanted = style.getPropertyValue("--${colour}").match(/[0-9a-f]{2}/g)
      .map((digits) => parseInt(digits, 16));
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 0; at < data.length; at += 4) {
      if (data[at + 3] === 255 && wanted.every((value, index) => data[at + index] === value)) count++;
    }
    count;
  }`);
}

test("the page runs both backends within the tolerance, and draws both", async () => {
  await visit({}, async ({ page, complaints }) => {
    await run(page, 512);
    const table = await readTable(page);
    assertEquals(table.map(([length]) => length), [64, 128, 256, 512]);
    for (const [, ...cells] of table) {
      assertEquals(cells.length, 6);
      for (const cell of cells) assertGreater(cell, 0);
      for (const error of [cells[2], cells[5]]) assertLess(error, tolerance);
    }
    for (const canvas of ["times", "errors"]) {
      for (const colour of ["wasm", "webgpu"]) {
        // The legend alone has fewer than 100.
        assertGreater(await countPixels(page, canvas, colour), 300, `${colour} in ${canvas}`);
      }
    }
    assertEquals(await page.locator("#troubles li").allTextContents(), []);
    assertEquals(complaints, []);
  });
});

test("the page draws a mask that its reader types, and says what cannot be drawn", async () => {
  await visit({}, async ({ page, complaints }) => {
    const card = page.locator("#own-mask"), words = card.locator(".words");
    const draw = async (text: string, state: string) => {
      // So that what is waited for is of this text.
      await card.evaluate("(card) => delete card.dataset.mask");
      await card.locator("textarea").fill(text);
      await card.locator("button").click();
      await page.waitForSelector(`#own-mask[data-mask="${state}"]`);
      return await words.innerText();
    };
    await page.waitForSelector(`#own-mask[data-mask="drawn"]`);
    assertEquals(await draw("({ q, k }) => q.ge(k)", "drawn"), "300 of 576 pairs are seen");
    const even = "({ k }) => captured(Int32Array.of(1, 0), [2]).at(k.mod(2)).eq(1)";
    assertEquals(await draw(even, "drawn"), "288 of 576 pairs are seen");
    assertMatch(await draw("({ q, k }) => q >= k", "refused"), /`q >= k` is q\.ge\(k\)/);
    assertMatch(await draw("({ q, k }) => q.ge(k", "refused"), /missing|unexpected|expected/i);
    assertMatch(await draw("({ q }) => q", "refused"), /must be a condition/);
    assertEquals(complaints, []);
  });
});

test("the page names the binary, threads and the adapter", async () => {
  await visit({}, async ({ page }) => {
    assertMatch(await page.innerText("#wasm-card"), /(relaxed|simd) binary, \d+ threads:/i);
    const cores = await page.evaluate<number>("navigator.hardwareConcurrency");
    assertMatch(
      await page.innerText("#wasm-card"),
      new RegExp(`runs ${cores} threads at a time`),
    );
    assertMatch(await page.innerText("#webgpu-card .words"), /^(?!Cannot)\S/);
    assertMatch(await page.innerText("#webgpu-card .note"), /^A (software|GPU) adapter/);
  });
});

test("the page runs causal attention and other sizes", async () => {
  await visit({}, async ({ page, complaints }) => {
    await page.fill("[name=heads]", "3");
    await page.fill("[name=dim]", "40");
    await page.check("[name=causal]");
    await run(page, 128);
    for (const [, ...cells] of await readTable(page)) {
      for (const error of [cells[2], cells[5]]) assertLess(error, tolerance);
    }
    assertEquals(complaints, []);
  });
});

test("the page says that there is no WebGPU, and runs WebAssembly alone", async () => {
  const before = `Object.defineProperty(Navigator.prototype, "gpu", { get() {} })`;
  await visit({ before }, async ({ page, complaints }) => {
    assertMatch(await page.innerText("#webgpu-card"), /no `navigator\.gpu`/);
    await run(page, 128);
    for (const [, ms, gflops, error, ...webgpu] of await readTable(page)) {
      assert(ms > 0 && gflops > 0 && error < tolerance);
      assertEquals(webgpu, [NaN, NaN, NaN]);
    }
    assertEquals(complaints, []);
  });
});

/** Destroys the first device at its second submission. */
const loseDevice = `{
  const { requestDevice } = GPUAdapter.prototype, { submit } = GPUQueue.prototype;
  let first, submissions = 0;
  GPUAdapter.prototype.requestDevice = async function (descriptor) {
    const device = await requestDevice.call(this, descriptor);
    first ??= device;
    return device;
  };
  GPUQueue.prototype.submit = function (commands) {
    submit.call(this, commands);
    if (++submissions === 2) first.destroy();
  };
}`;

test("the page says that the device was lost, and goes on with a new one", async () => {
  await visit({ before: loseDevice }, async ({ page, complaints }) => {
    await run(page, 128);
    const [trouble, ...more] = await page.locator("#troubles li").allTextContents();
    assertMatch(trouble, /^WebGPU: N = 64: Lost the GPU device/);
    assertEquals(more, []);
    const [lost, found] = await readTable(page);
    assertEquals(lost.slice(4), [NaN, NaN, NaN]);
    assertLess(found[6], tolerance);
    assertEquals(complaints, []);
  });
});

test("the page says which setting it cannot use", async () => {
  await visit({}, async ({ page }) => {
    await page.fill("[name=heads]", "64");
    await page.fill("[name=dim]", "512");
    await page.selectOption("[name=largest]", "16384");
    await page.click("#run");
    await enters(page, "refused");
    assertMatch(await page.innerText("#status"), /must be at most 33554432.*take a smaller N/);
  });
});

test("the page stops when it is told to", async () => {
  await visit({}, async ({ page, complaints }) => {
    await page.selectOption("[name=largest]", "16384");
    await page.click("#run");
    await enters(page, "running");
    await page.click("#run");
    await enters(page, "stopped");
    // And can be run again.
    await run(page, 64);
    assertEquals(complaints, []);
  });
});
