/**
 * The bench in Chromium without a window, with onnxruntime-web on the same device.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { type Browser, chromium, type Page } from "playwright-core";
import { fileURLToPath } from "node:url";
import { isolation } from "../../tools/isolation.ts";
import { bundleInto } from "../elsewhere.ts";
import { installPeers } from "../peers/install.ts";
import { type Build, builds } from "./onnxruntime.ts";
import { type Event, type Order, reasonOf, type Tell } from "./report.ts";
import { type Runtime, withFolder } from "./runtimes.ts";

/** Debian's. Elsewhere Google Chrome is looked for where it is usually installed. */
const debianChromium = "/usr/bin/chromium";

/** Nothing listens here: the page's requests are answered from files. WebGPU needs this host. */
const origin = "http://localhost";

/** Beside what Playwright passes: no sandbox for root, WebGPU behind no blocklist, Linux by Vulkan. */
const launchArguments = [
  ...["--enable-unsafe-webgpu", "--ignore-gpu-blocklist", "--disable-quic"],
  ...(process.getuid?.() === 0 ? ["--no-sandbox"] : []),
  ...(process.platform === "linux" ? ["--enable-features=Vulkan"] : []),
];

async function launch(program: string | undefined): Promise<Browser> {
  const found = program ?? (existsSync(debianChromium) ? debianChromium : undefined);
  const which = found === undefined ? { channel: "chrome" } : { executablePath: found };
  try {
    return await chromium.launch({ ...which, args: launchArguments });
  } catch (error) {
    const what = "Cannot start Chromium: install it, or name its program with --browser PROGRAM";
    throw new Error(`${what} (${reasonOf(error)})`);
  }
}

/** A page that finds the bundle and onnxruntime-web's files. */
async function openPage(browser: Browser, bundle: string, onnxruntime: string): Promise<Page> {
  const page = await browser.newPage();
  await page.route("**/*", (route) => {
    const { pathname } = new URL(route.request().url());
    if (pathname === "/") {
      return route.fulfill({
        contentType: "text/html",
        body: "<!doctype html>",
        headers: isolation,
      });
    }
    const path = pathname.startsWith("/ort/")
      ? join(onnxruntime, pathname.slice("/ort/".length))
      : bundle;
    return route.fulfill({ path, headers: isolation });
  });
  await page.goto(origin);
  return page;
}

/** Rejects when the page breaks outside of the bench. */
function breaking(page: Page): Promise<never> {
  return new Promise((_, reject) => {
    page.on("pageerror", reject);
    page.on("crash", () => reject(new Error("the page crashed")));
  });
}

/** What is called in a page of its own: onnxruntime-web is one to a page, and devices may be lost. */
function stepsOf({ attention }: Order): [name: "run" | "race", Build][] {
  const [first, ...others] = Object.keys(builds) as Build[];
  const races = attention ? [first, ...others] : [];
  return [["run", first], ...races.map((build): ["race", Build] => ["race", build])];
}

async function run(program: string | undefined, folder: string, order: Order, tell: Tell) {
  const onnxruntime = join(installPeers(), "node_modules", "onnxruntime-web", "dist");
  const script = fileURLToPath(new URL("page.ts", import.meta.url));
  const bundle = bundleInto(folder, script, "browser");
  const browser = await launch(program);
  try {
    await tell({ kind: "runtime", runtime: `Chromium ${browser.version()}` });
    for (const [name, build] of stepsOf(order)) {
      const page = await openPage(browser, bundle, onnxruntime);
      await page.exposeFunction("tell", (event: Event) => tell(event));
      const given = `${JSON.stringify(order)}, ${JSON.stringify(build)}, tell`;
      const call = `import("/bundle.mjs").then((bench) => bench.${name}(${given}))`;
      try {
        await Promise.race([page.evaluate(call), breaking(page)]);
      } catch (error) {
        const what = name === "run" ? "Chromium" : build;
        await tell({ kind: "missing", missing: { what, reason: reasonOf(error) } });
      }
      await page.close();
    }
  } finally {
    await browser.close();
  }
}

/** Chromium; `program` where it is not in its usual place. */
export function chromiumRuntime(program: string | undefined): Runtime {
  return {
    name: "chromium",
    run: (order, tell) => withFolder((folder) => run(program, folder, order, tell)),
  };
}
