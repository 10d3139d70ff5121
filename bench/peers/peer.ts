/**
 * The interface of a peer: one adapter each, in the file of its name.
 *
 * What is timed is the same for all: from the caller's arrays of numbers to an array of numbers.
 * Sessions, kernels and masks are made before; whatever copies a library needs are its own.
 *
 * @module
 */

import type { Layout, Problem } from "./problem.ts";

/** What an adapter is given besides the problem. */
export interface Setup {
  readonly threads: number;
  /** Loads a package of the peers' manifest. */
  require(name: string): unknown;
  /** The file that a package's name stands for. */
  resolve(name: string): string;
}

/** A problem that is ready to be computed again and again. */
export interface Prepared {
  /** How the result lies. */
  readonly layout: Layout;
  /** The timed call. */
  run(): Float32Array | Promise<Float32Array>;
  dispose(): unknown;
}

/** A library, in one of the ways of using it. */
export interface Peer {
  readonly name: string;
  /** The package whose version is named: this one or one of the manifest. */
  readonly package?: string;
  /** What a reader must know to judge the figures. */
  readonly note: string;
  /**
   * Gets ready.
   *
   * @throws {Refusal} When it does not offer what the setup asks for.
   */
  load(problem: Problem, setup: Setup): Promise<Prepared>;
}

/** A peer does not offer what it is asked for: nothing failed, there is nothing to measure. */
export class Refusal extends Error {}

/** Refuses more than one thread, with the reason. */
export function oneThread(threads: number, reason: string): void {
  if (threads > 1) throw new Refusal(`has one thread only: ${reason}`);
}

/**
 * Runs `action` with another global `Worker`. Peers look at it to decide on threads, and
 * onnxruntime-web leaves Node's own class there, which breaks the next that looks.
 */
export async function withWorker<T>(worker: unknown, action: () => T | Promise<T>): Promise<T> {
  const before = globalThis.Worker;
  globalThis.Worker = worker as typeof Worker;
  try {
    return await action();
  } finally {
    globalThis.Worker = before;
  }
}
