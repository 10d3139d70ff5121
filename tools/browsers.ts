/**
 * Chromium and Firefox without a window, driven alike.
 *
 * Puppeteer, since Playwright drives builds of Firefox of its own; of others it asks commands that
 * Debian's does not have.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { type Browser, launch, type LaunchOptions } from "puppeteer-core";
import * as chromium from "./chromium.ts";

/** Both of them, Debian's. */
const browsers = {
  Chromium: {
    browser: "chrome",
    executablePath: chromium.executablePath,
    args: [...chromium.args],
    debianPackage: "chromium",
  },
  Firefox: {
    browser: "firefox",
    executablePath: "/usr/bin/firefox-esr",
    args: [],
    debianPackage: "firefox-esr",
  },
} as const satisfies Record<string, LaunchOptions & { debianPackage: string }>;

/** The name of one of them. */
export type BrowserName = keyof typeof browsers;

/** Their names. */
export const browserNames = Object.keys(browsers) as readonly BrowserName[];

/** Longest wait for an answer: on the CPU a GPU's shaders are compiled slowly. */
const patience = 120_000;

/** Starts a browser; its profile is in the system's temporary folder, and goes when it is closed. */
export async function launchBrowser(name: BrowserName): Promise<Browser> {
  const { debianPackage, ...options } = browsers[name], { executablePath } = options;
  if (!existsSync(executablePath)) {
    throw new Error(
      `Cannot find ${executablePath}: install it with \`apt-get install ${debianPackage}\``,
    );
  }
  return await launch({ ...options, args: [...options.args], protocolTimeout: patience });
}
