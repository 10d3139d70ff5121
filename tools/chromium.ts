/**
 * Chromium without a window, as the tests and the README's picture use it.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

/** Debian's. */
export const executablePath = "/usr/bin/chromium";

/** Beside what drivers pass: it has no sandbox for root, and WebGPU no GPU. */
export const args = ["--no-sandbox", "--enable-unsafe-webgpu", "--disable-quic"];

/** Starts the browser. */
export async function launchChromium(): Promise<Browser> {
  if (!existsSync(executablePath)) {
    throw new Error(`Cannot find ${executablePath}: install it with \`apt-get install chromium\``);
  }
  return await chromium.launch({ executablePath, args });
}
