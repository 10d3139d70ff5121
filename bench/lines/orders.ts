/**
 * What a child process is asked, and what it answers.
 *
 * @module
 */

import type { Entrant } from "./entrants.ts";

/** Times entrants in turn. */
export interface Order {
  readonly entrants: readonly Entrant[];
  /** Whether the subpath `wide` is imported first. */
  readonly wide: boolean;
  /** Threads of peers. */
  readonly threads: number;
  /** Turns of each. */
  readonly rounds: number;
  /** Milliseconds of rest before each. */
  readonly rest: number;
  /** Whether the processor's time counts, not the clock's: of one thread, where others compute beside. */
  readonly processor: boolean;
  /** The folder of the peers' packages. */
  readonly folder: string;
}

/** What comes of it. */
export interface Answer {
  /** What the engine of one thread says of itself. */
  readonly reason: string;
  /** Whether bytes are multiplied by one instruction here. */
  readonly fused: boolean;
  /** Milliseconds of a call, by entrant and round. */
  readonly times: readonly (readonly number[])[];
}

/** Stands before the answer in what a child prints. */
export const mark = "answer: ";
