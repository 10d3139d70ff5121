/**
 * `deno task browser:screenshot`: runs the page and keeps what it looks like then, for the README.
 *
 * @module
 */

import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { run, visit } from "./visit.ts";

const picture = fileURLToPath(new URL("../../docs/images/browser.png", import.meta.url));

const [path = picture] = process.argv.slice(2);
const viewport = { width: 900, height: 1060 };
await visit({ browser: { viewport, colorScheme: "light" } }, async ({ page }) => {
  await run(page, 1024);
  // Without the pointer's and the keyboard's traces.
  await page.mouse.move(0, 0);
  await page.evaluate("document.activeElement.blur()");
  mkdirSync(dirname(path), { recursive: true });
  await page.screenshot({ path, fullPage: true });
});
