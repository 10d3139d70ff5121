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
import { type Browser, launch, type LaunchOptions } from "puppeteer-core";
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
export async function launchBrowser(
  name: BrowserName,
  more: LaunchOptions = {},
): Promise<Browser> {
  const { executablePath, debianPackage, options }: Program = programs[name];
  if (!existsSync(executablePath)) {
    throw new Error(
      `Cannot find ${executablePath}: install it with \`apt-get install ${debianPackage}\``,
    );
  }
  return await launch({ executablePath, protocolTimeout: patience, ...options(), ...more });
}
