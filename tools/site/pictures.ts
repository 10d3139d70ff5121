/**
 * What the site looks like, for the documents: its start in the light, a search in the dark.
 *
 * @module
 */

import type { Page } from "playwright-core";
import { serveFolder } from "../browser_package/server.ts";
import { launchChromium } from "../chromium.ts";

interface Picture {
  readonly name: string;
  readonly path: string;
  readonly colorScheme: "light" | "dark";
  readonly act: (page: Page) => Promise<void>;
}

const pictures: readonly Picture[] = [
  { name: "site", path: "", colorScheme: "light", act: async () => {} },
  {
    name: "site_search",
    path: "docs/CACHES.html",
    colorScheme: "dark",
    async act(page) {
      await page.keyboard.press("Control+KeyK");
      await page.fill(".VPLocalSearchBox input", "sliding window");
      await page.waitForSelector(".VPLocalSearchBox .result");
    },
  },
];

/** Takes the pictures of a site, made for the base `/`, into a folder. */
export async function takePictures(site: string, folder: string): Promise<void> {
  await using server = serveFolder(site, {});
  const browser = await launchChromium();
  try {
    for (const { name, path, colorScheme, act } of pictures) {
      const page = await browser.newPage({ viewport: { width: 1180, height: 760 }, colorScheme });
      await page.goto(server.url + path, { waitUntil: "networkidle" });
      await act(page);
      await page.waitForTimeout(500); // Until what fades in is there.
      await page.screenshot({ path: `${folder}/${name}.png` });
      await page.close();
    }
  } finally {
    await browser.close();
  }
}
