/**
 * A run of an algorithm, kept move by move, so that it can be shown slowly.
 *
 * @module
 */

import type { Algorithm } from "../chapters.ts";
import { type Matrix, Memory, type Move } from "../memory.ts";
import type { Sizes } from "../problem.ts";

/** A move that is counted, and those around it that are not. */
export interface Step {
  /** What is given up before it. */
  readonly freed: readonly Move[];
  /** The load or the store. */
  readonly move: Move;
  /** Room that is made after it. */
  readonly made: Move[];
  /** What has been counted once it is done. */
  reads: number;
  writes: number;
}

/** A run. */
export interface Film {
  /** Room that is made at the beginning. */
  readonly made: readonly Move[];
  readonly steps: readonly Step[];
  /** What is given up at the end. */
  readonly freed: readonly Move[];
  /** Everything that takes part, in order. */
  readonly matrices: readonly Matrix[];
  /** Most numbers in fast memory at a time. */
  readonly most: number;
}

/** More would be a blur, and fill the page's memory. */
const mostSteps = 60_000;

/** Order in which matrices are shown: inputs first. */
const order = ["q", "Q", "K", "V", "dO", "S", "P", "dP", "dS", "O", "dQ", "dK", "dV", "parts"];

/**
 * Runs an algorithm and keeps its moves.
 *
 * @throws {RangeError} When there are too many of them to be shown.
 */
export function record(algorithm: Algorithm, sizes: Sizes): Film {
  const steps: Step[] = [], made: Move[] = [], matrices = new Set<Matrix>();
  let freed: Move[] = [];
  const memory: Memory = new Memory(sizes.m, (move) => {
    const last = steps.at(-1);
    // A move is told of before it is counted.
    if (last !== undefined) [last.reads, last.writes] = [memory.reads, memory.writes];
    matrices.add(move.matrix);
    if (move.kind === "make") return void (last?.made ?? made).push(move);
    if (move.kind === "free") return void freed.push(move);
    if (steps.length === mostSteps) throw new RangeError(tooMany(sizes));
    steps.push({ freed, move, made: [], reads: 0, writes: 0 });
    freed = [];
  });
  algorithm.prepare(sizes)(memory);
  [steps.at(-1)!.reads, steps.at(-1)!.writes] = [memory.reads, memory.writes];
  const shown = [...matrices].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  return { made, steps, freed, matrices: shown, most: memory.most };
}

function tooMany({ m }: Sizes): string {
  return `With M = ${m} tiles are so small that there are more than ` +
    `${mostSteps.toLocaleString("en")} moves to show: take a larger M or a smaller N`;
}

/** What a move is, in words. */
export function wordsOf({ kind, matrix, down, across }: Move): string {
  const whole = across.count === matrix.columns;
  const name = matrix.name + (whole ? rangeOf(down) : `${rangeOf(down)}${rangeOf(across)}`);
  const size = (down.count * across.count).toLocaleString("en");
  return kind === "load" ? `read ${name}: ${size} numbers` : `write ${name}: ${size} numbers`;
}

function rangeOf({ start, count }: { start: number; count: number }): string {
  return count === 1 ? `[${start}]` : `[${start}…${start + count - 1}]`;
}
