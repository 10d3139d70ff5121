/**
 * Starting a worker on any runtime.
 *
 * @module
 */

import { reasonOf } from "../../../check/errors.ts";
import { isServer, type NodeProcess } from "../../../runtime.ts";
import { workerSource, workerVersion } from "./worker_source.ts";

/** What a worker is started with. */
export interface WorkerData {
  /** Of every program. */
  readonly modules: readonly WebAssembly.Module[];
  /** Shared. */
  readonly memory: WebAssembly.Memory;
  /** The control block. */
  readonly control: Int32Array;
  /** Its number, from 1 on; the calling thread is 0. */
  readonly index: number;
}

/** A running worker. */
export interface WorkerHandle {
  /**
   * Whether its thread does nothing more once it is said to have ended. Deno's finishes what it is at,
   * however long that takes, and pages do not tell.
   */
  readonly isCertain?: boolean;
  /** Ends it; settles when it has ended, as far as that is told. */
  terminate(): Promise<unknown>;
}

/** The part of node:worker_threads that is used. */
interface NodeWorkers {
  Worker: new (source: string, options: NodeOptions & { workerData: WorkerData }) => {
    on(event: "error", listener: (error: unknown) => void): void;
    on(event: "exit", listener: () => void): void;
    unref(): void;
    terminate(): Promise<number>;
  };
}

/**
 * A worker runs this library's script and nothing else. What the main thread was started with, by its
 * arguments or by NODE_OPTIONS, would run in each again (`--require`, `--import`); and whoever reads a
 * worker's streams has Node open those of the process.
 */
const alone = { eval: true, execArgv: [], env: {}, stdout: true, stderr: true } as const;

type NodeOptions = typeof alone;

/** node:worker_threads, where this is Node, Deno or Bun. */
function nodeWorkers(): NodeWorkers | undefined {
  if (!isServer()) return undefined;
  const { process } = globalThis as { process?: NodeProcess };
  return process?.getBuiltinModule?.("node:worker_threads") as NodeWorkers | undefined;
}

/**
 * Milliseconds without a job after which workers leave; 0 for never. On Deno a worker that is ended
 * leaves its own workers behind, asleep for ever: those of an engine in a worker look after themselves.
 */
export function idleMilliseconds(): number {
  return "Deno" in globalThis && "DedicatedWorkerGlobalScope" in globalThis ? 5000 : 0;
}

/**
 * Starts a worker that neither keeps the process alive nor needs a permission.
 *
 * @param workerUrl Where pages have the script from; by default they make a `blob:` of it.
 * @param onEnd Called when it ends, by itself or not, with what is known of why.
 * @throws What the runtime throws that does not let workers begin.
 */
export function spawn(
  data: WorkerData,
  onEnd: (reason: string) => void,
  workerUrl?: string,
): WorkerHandle {
  const workers = nodeWorkers();
  if (workers === undefined) return spawnInPage(data, onEnd, workerUrl);
  try {
    return spawnInNode(workers, data, onEnd);
  } catch (error) {
    // A page with Node beside it, which has threads by name alone. Deno's global `Worker` would keep
    // the process alive.
    if (typeof Worker === "undefined" || "Deno" in globalThis) throw error;
    return spawnInPage(data, onEnd, workerUrl);
  }
}

function spawnInNode(
  { Worker }: NodeWorkers,
  data: WorkerData,
  onEnd: (reason: string) => void,
): WorkerHandle {
  const worker = new Worker(workerSource, { ...alone, workerData: data });
  worker.on("error", (error) => onEnd(reasonOf(error)));
  worker.on("exit", () => onEnd("a worker ended"));
  worker.unref();
  return { isCertain: !("Deno" in globalThis), terminate: () => worker.terminate() };
}

/** What is to be done where a page starts no worker. */
const advice = {
  blob: "the Content-Security-Policy must allow `worker-src blob:`, or pass `workerUrl`",
  own: "`workerUrl` must serve this version's `flashtile/worker.js` with the header COEP, " +
    "and the Content-Security-Policy allow it",
} as const;

function spawnInPage(
  data: WorkerData,
  onEnd: (reason: string) => void,
  workerUrl: string | undefined,
): WorkerHandle {
  const own = workerUrl !== undefined, hint = own ? advice.own : advice.blob;
  const url = workerUrl ??
    URL.createObjectURL(new Blob([workerSource], { type: "text/javascript" }));
  let worker: Worker | undefined;
  const end = () => {
    worker?.terminate();
    if (!own) URL.revokeObjectURL(url);
  };
  try {
    worker = new Worker(url);
    worker.onerror = ({ message }) => {
      end(); // An error does not end it.
      // What a policy refuses, or a server does not have, comes without a word.
      onEnd(own && message ? `${message}; ${hint}` : message || hint);
    };
    worker.postMessage({ ...data, version: workerVersion });
    return { terminate: () => Promise.resolve(end()) };
  } catch (error) {
    end();
    // A constructor's refusal: policies of trusted types are told so, and scripts of other origins.
    throw worker === undefined ? new Error(`${reasonOf(error)}; ${hint}`) : error;
  }
}
