/**
 * Where the bench runs: Deno and Node in child processes, so that a driver that crashes takes only
 * its own figures along.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { install, runtimeProgram, versions } from "../../tools/install.ts";
import { bundleInto } from "../elsewhere.ts";
import type { Event, Order, Tell } from "./report.ts";

/** The Vulkan driver for the processor that comes with Debian's Chromium: the one that Dawn takes. */
const swiftShader = "/usr/lib/chromium/vk_swiftshader_icd.json";

const child = fileURLToPath(new URL("child.ts", import.meta.url));

/** A runtime, and how to measure on it. */
export interface Runtime {
  readonly name: string;
  run(order: Order, tell: Tell): Promise<void>;
}

/** Runs `action` with a new folder, which is gone afterwards. */
export async function withFolder<T>(action: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "flashtile-bench-"));
  try {
    return await action(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The event of a line; what is none of ours is a driver's. */
function eventOf(line: string): Event | undefined {
  try {
    return JSON.parse(line) as Event;
  } catch {
    console.error(line);
  }
}

/** Runs the child and passes its events on. */
async function runChild(
  [program, ...args]: readonly string[],
  environment: Readonly<Record<string, string>>,
  tell: Tell,
): Promise<void> {
  const started = spawn(program, args, {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...environment },
  });
  const ended = new Promise<string | undefined>((resolve) => {
    started.on("error", (error) => resolve(error.message));
    started.on("close", (code, signal) => resolve(code === 0 ? undefined : `${signal ?? code}`));
  });
  for await (const line of createInterface({ input: started.stdout })) {
    const event = eventOf(line);
    if (event !== undefined) await tell(event);
  }
  const wrong = await ended;
  if (wrong !== undefined) throw new Error(`the process ended with ${wrong}`);
}

/** Mesa complains where there is no such folder. */
function mesaFolder(folder: string): Record<string, string> {
  return process.env.XDG_RUNTIME_DIR === undefined ? { XDG_RUNTIME_DIR: folder } : {};
}

const deno: Runtime = {
  name: "deno",
  run: (order, tell) =>
    withFolder(async (folder) => {
      await tell({ kind: "runtime", runtime: `Deno ${process.versions.deno}` });
      const command = [process.execPath, "run", "-A", "--no-check", child, JSON.stringify(order)];
      await runChild(command, mesaFolder(folder), tell);
    }),
};

/** Node with Dawn from npm; on SwiftShader where that finds no adapter. */
async function runNode(folder: string, order: Order, tell: Tell): Promise<void> {
  const runtime = `Node ${versions.node26}, webgpu ${versions.webgpu}`;
  await tell({ kind: "runtime", runtime });
  const modules = install("webgpu", [`webgpu@${versions.webgpu}`]);
  const command = [
    ...[runtimeProgram("node", versions.node26), bundleInto(folder, child)],
    ...[JSON.stringify(order), join(modules, "webgpu", "index.js")],
  ];
  let none: Event | undefined;
  await runChild(command, mesaFolder(folder), (event) => {
    if (event.kind !== "missing" || event.missing.what !== "device") return tell(event);
    none = event;
  });
  if (none === undefined) return;
  if (!existsSync(swiftShader)) return await tell(none);
  const software = { VK_ICD_FILENAMES: swiftShader, VK_DRIVER_FILES: swiftShader };
  await runChild(command, { ...mesaFolder(folder), ...software }, tell);
}

const node: Runtime = {
  name: "node",
  run: (order, tell) => withFolder((folder) => runNode(folder, order, tell)),
};

/** The runtimes that need no browser. */
export const processes: readonly Runtime[] = [deno, node];
