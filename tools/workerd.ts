/**
 * workerd, the runtime of Cloudflare Workers, serving a worker on this machine.
 *
 * @module
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join, relative } from "node:path";
import { filesOf } from "./bundle_tests.ts";
import { install, versions } from "./install.ts";

/** How a worker is served. */
export interface WorkerOptions {
  /** Its main module, a file of the folder; all others can be imported. */
  readonly main?: string;
  /** 0 is any port that is free. */
  readonly port?: number;
  /** The day whose runtime it is to be. */
  readonly compatibilityDate?: string;
}

/** A worker that is served. */
export interface ServedWorker extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  /** Where it can be inspected, if that was asked for: slower, and nobody else may reach it. */
  readonly inspector?: string;
}

const configFile = "config.capnp", compiledFile = "config.bin";

/** Milliseconds until it must listen. */
const patience = 20_000;

/** The program itself: its package for this machine comes with the package `workerd`. */
function workerdProgram(): string {
  const modules = install("workerd", [`workerd@${versions.workerd}`]);
  return createRequire(join(modules, "x.js"))("workerd").default;
}

/** What a file is imported as. */
function kindOf(file: string): string {
  return ({ ".js": "esModule", ".wasm": "wasm" } as Record<string, string>)[extname(file)] ??
    "data";
}

function writeConfig(folder: string, options: WorkerOptions): string {
  const { main = "worker.js", port = 0, compatibilityDate = "2026-11-17" } = options;
  const others = filesOf(folder, "").map((file) => relative(folder, file))
    .filter((file) => extname(file) !== "" && ![main, configFile, compiledFile].includes(file));
  const modules = [main, ...others].map((file) =>
    `(name = "${file}", ${kindOf(file)} = embed "${file}")`
  );
  const path = join(folder, configFile);
  writeFileSync(
    path,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "worker", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "worker")],
);
const worker :Workerd.Worker = (
  modules = [${modules.join(", ")}],
  compatibilityDate = "${compatibilityDate}",
);
`,
  );
  return path;
}

/**
 * Compiles a configuration, modules included: otherwise workerd does it whenever it starts.
 *
 * @param folder Holds the worker's modules and nothing else; receives the configuration.
 * @returns The compiled configuration.
 */
export function compileWorker(folder: string, options: WorkerOptions = {}): string {
  const { status, stdout, error } = spawnSync(
    workerdProgram(),
    ["compile", "--config-only", writeConfig(folder, options)],
    { stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 28 },
  );
  if (status !== 0) {
    throw new Error(`Cannot compile ${folder}: workerd ended with ${error ?? status}`);
  }
  const path = join(folder, compiledFile);
  writeFileSync(path, stdout);
  return path;
}

/** Serves a compiled configuration, and says when it listens. */
export async function startWorker(compiled: string, inspected = false): Promise<ServedWorker> {
  // It tells its ports on descriptor 1, before anything that the worker says.
  const process = spawn(workerdProgram(), [
    ...["serve", "--binary", "--control-fd=1"],
    ...(inspected ? ["--inspector-addr=127.0.0.1:0"] : []),
    compiled,
  ], { stdio: ["ignore", "pipe", "inherit"] });
  const close = () => end(process);
  try {
    const [port, inspectorPort] = await portsOf(process, inspected);
    return {
      url: `http://127.0.0.1:${port}`,
      pid: process.pid!,
      ...(inspected && { inspector: `ws://127.0.0.1:${inspectorPort}/worker` }),
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Serves the worker whose modules a folder holds. */
export function serveWorker(folder: string, options?: WorkerOptions): Promise<ServedWorker> {
  return startWorker(compileWorker(folder, options));
}

/** The ports that it listens on: for requests, and for an inspector. */
function portsOf(process: ChildProcess, inspected: boolean): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => {
      clearTimeout(timer);
      reject(new Error(`Cannot serve the worker: workerd ${why}`));
    };
    const timer = setTimeout(() => fail(`does not listen after ${patience} ms`), patience);
    process.once("error", ({ message }) => fail(message));
    process.once("exit", (code) => fail(`ended with ${code}`));
    let text = "";
    process.stdout!.setEncoding("utf8").on("data", (part) => {
      text += part;
      const ports = ["listen", ...(inspected ? ["listen-inspector"] : [])].map((event) =>
        new RegExp(`^{"event":"${event}".*"port":(\\d+)}$`, "m").exec(text)?.[1]
      );
      if (ports.includes(undefined)) return;
      clearTimeout(timer);
      resolve(ports.map(Number));
    });
  });
}

async function end(process: ChildProcess): Promise<void> {
  const isOver = process.exitCode !== null || process.signalCode !== null;
  if (process.pid === undefined || isOver) return; // It has no number where it did not begin.
  const ended = new Promise((resolve) => process.once("exit", resolve));
  process.kill("SIGKILL");
  await ended;
}

/** Memory of a process that is resident, in bytes; Linux. */
export function residentBytes(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))!;
  return Number(kilobytes) * 1024;
}
