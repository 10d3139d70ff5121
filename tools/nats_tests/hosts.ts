/**
 * Shards and coordinators as processes of their own, on each runtime.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface, type Interface } from "node:readline";
import type { ShardStats } from "@flashtile/attention/sharded";
import { bundleScripts } from "../bundle_tests.ts";
import { runtimeProgram, versions } from "../install.ts";
import { root } from "../test_runs.ts";
import type { HostOptions } from "./host.ts";

/** Where scripts run. */
export type Runtime = "Deno" | "Node" | "Bun";

const scripts = ["tools/nats_tests/host.ts", "tools/nats_tests/generate.ts"];

let bundled: string | undefined;

/** The script of a tool, bundled for Node and Bun. */
function scriptOf(name: string): string {
  bundled ??= bundleScripts(
    join(mkdtempSync(join(tmpdir(), "flashtile-nats-")), "scripts"),
    scripts,
  );
  return join(bundled, "nats_tests", `${name}.mjs`);
}

/** Starts a script of this folder. */
export function startScript(
  runtime: Runtime,
  name: "host" | "generate",
  options: unknown,
  before: readonly string[] = [],
): ChildProcess {
  const commands = {
    Deno: () => [process.execPath, "run", "-A", "--no-check", `tools/nats_tests/${name}.ts`],
    Node: () => [runtimeProgram("node", versions.node20), scriptOf(name)],
    Bun: () => [runtimeProgram("bun", versions.bun), "run", scriptOf(name)],
  };
  const [program, ...given] = [...before, ...commands[runtime](), JSON.stringify(options)];
  return spawn(program, given, { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
}

/** A shard in a process of its own. */
export class HostProcess {
  readonly child: ChildProcess;
  readonly options: HostOptions;
  readonly #lines: Interface;

  private constructor(child: ChildProcess, options: HostOptions) {
    this.child = child;
    this.options = options;
    this.#lines = createInterface({ input: child.stdout! });
  }

  /** Starts one, and waits until it serves. */
  static async start(
    runtime: Runtime,
    options: HostOptions,
    before: readonly string[] = [],
  ): Promise<HostProcess> {
    const host = new HostProcess(startScript(runtime, "host", options, before), options);
    const said = await host.#line();
    if (said !== "ready") throw new Error(`Cannot serve a shard on ${runtime}: ${said}`);
    return host;
  }

  /** What it has, and the bytes of memory that its process has. */
  async stats(): Promise<ShardStats & { readonly resident: number }> {
    const line = this.#line();
    this.child.stdin!.write("\n");
    return JSON.parse(await line);
  }

  /** Deno's `child.kill()` does nothing more once it has sent a signal. */
  signal(signal: "SIGSTOP" | "SIGCONT" | "SIGKILL"): void {
    if (this.#isRunning) process.kill(this.child.pid!, signal);
  }

  get #isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  async kill(): Promise<void> {
    if (!this.#isRunning) return;
    const ended = once(this.child, "exit");
    this.signal("SIGKILL");
    await ended;
  }

  /** The next line that it says; how it ended, where it says none any more. */
  #line(): Promise<string> {
    return new Promise((resolve) => {
      const take = (line: string) => {
        this.child.off("exit", end);
        resolve(line);
      };
      const end = (code: number | null) => {
        this.#lines.off("line", take);
        resolve(`ended with ${code}`);
      };
      this.#lines.once("line", take);
      this.child.once("exit", end);
    });
  }
}
