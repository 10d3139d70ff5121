/**
 * Chromium and Firefox without a window, driven alike.
 *
 * Puppeteer, since Playwright drives builds of Firefox of its own; of others it asks commands that
 * Debian's does not have.
 *
 * @module
 */

import { existsSync } from "node:fs";
import process from "node:process";
import {
  type Browser,
  launch,
  type LaunchOptions,
  ProtocolError,
  TimeoutError,
} from "puppeteer-core";
import * as chromium from "./chromium.ts";
import { lavapipe } from "./gpu_runs.ts";

/** A browser as Debian has it. */
interface Program {
  readonly executablePath: string;
  readonly debianPackage: string;
  options(): LaunchOptions;
}

const firefox = { executablePath: "/usr/bin/firefox-esr", debianPackage: "firefox-esr" };

const programs = {
  Chromium: {
    executablePath: chromium.executablePath,
    debianPackage: "chromium",
    options: () => ({ args: [...chromium.args] }),
  },
  // As its V8 calls the flag from 15.6 on.
  "Chromium with --wasm-revectorize": {
    executablePath: chromium.executablePath,
    debianPackage: "chromium",
    options: () => ({ args: [...chromium.args, "--js-flags=--wasm-revectorize"] }),
  },
  Firefox: { ...firefox, options: () => ({ browser: "firefox" }) },
  // Which Linux has not by itself yet.
  "Firefox with WebGPU": {
    ...firefox,
    options: () => ({
      browser: "firefox",
      extraPrefsFirefox: { "dom.webgpu.enabled": true, "gfx.webgpu.ignore-blocklist": true },
      env: { ...process.env, VK_DRIVER_FILES: lavapipe() },
    }),
  },
} as const satisfies Record<string, Program>;

/** The name of one of them. */
export type BrowserName = keyof typeof programs;

/** Longest wait for an answer: on the CPU a GPU's shaders are compiled slowly. */
const patience = 120_000;

/** Starts a browser; its profile is in the system's temporary folder, and goes when it is closed. */
async function launchBrowser(name: BrowserName, more: LaunchOptions): Promise<Browser> {
  const { executablePath, debianPackage, options }: Program = programs[name];
  if (!existsSync(executablePath)) {
    throw new Error(
      `Cannot find ${executablePath}: install it with \`apt-get install ${debianPackage}\``,
    );
  }
  return await launch({ executablePath, protocolTimeout: patience, ...options(), ...more });
}

/** What is done with a browser of a version. */
export type UseBrowser = (browser: Browser, version: string) => Promise<void>;

/** Starts a browser, lends it, and closes it whatever happens. */
async function lendBrowser(name: BrowserName, use: UseBrowser, more: LaunchOptions): Promise<void> {
  const browser = await launchBrowser(name, more);
  try {
    await use(browser, (await browser.version()).replace(/^.*\//, ""));
  } finally {
    await browser.close();
  }
}

/**
 * Lends a browser. One that ends or does not answer any more, which happens on a busy machine once in some hundred
 * times, is not what is tried: then all is done once more in a new one. What a page throws, or a test, is a failure.
 */
export async function withBrowser(
  name: BrowserName,
  use: UseBrowser,
  more: LaunchOptions = {},
): Promise<void> {
  try {
    await lendBrowser(name, use, more);
  } catch (error) {
    if (!(error instanceof ProtocolError || error instanceof TimeoutError)) throw error;
    console.warn(`${name} was lost, once more:`, error);
    await lendBrowser(name, use, more);
  }
}
