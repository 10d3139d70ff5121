/**
 * Starting a worker on any runtime.
 *
 * @module
 */

import { reasonOf } from "../../errors.ts";
import { isServer, type NodeProcess } from "../../runtime.ts";
import { workerSource } from "./worker_source.ts";

/** What a worker is started with. */
export interface WorkerData {
  readonly module: WebAssembly.Module;
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
  Worker: new (source: string, options: { eval: true; workerData: WorkerData }) => {
    on(event: "error", listener: (error: unknown) => void): void;
    on(event: "exit", listener: () => void): void;
    unref(): void;
    terminate(): Promise<number>;
  };
}

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
 * @param onEnd Called when it ends, by itself or not, with what is known of why.
 * @throws What the runtime throws that does not let workers begin.
 */
export function spawn(data: WorkerData, onEnd: (reason: string) => void): WorkerHandle {
  const workers = nodeWorkers();
  if (workers !== undefined) {
    const worker = new workers.Worker(workerSource, { eval: true, workerData: data });
    worker.on("error", (error) => onEnd(reasonOf(error)));
    worker.on("exit", () => onEnd("a worker ended"));
    worker.unref();
    return { isCertain: !("Deno" in globalThis), terminate: () => worker.terminate() };
  }
  const url = URL.createObjectURL(new Blob([workerSource], { type: "text/javascript" }));
  let worker: Worker | undefined;
  const end = () => {
    worker?.terminate();
    URL.revokeObjectURL(url);
  };
  try {
    worker = new Worker(url);
    worker.onerror = ({ message }) => {
      end(); // An error does not end it.
      // A policy's refusal comes without a word.
      onEnd(message || "the Content-Security-Policy must allow `worker-src blob:`");
    };
    worker.postMessage(data);
    return { terminate: () => Promise.resolve(end()) };
  } catch (error) {
    end();
    throw error;
  }
}
