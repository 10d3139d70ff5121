/**
 * Queries and keys of a step are turned before they are sent: the coordinator alone knows where tokens stand in the
 * whole, and shards need no angles.
 *
 * @module
 */

import { readOptions } from "../../check/words.ts";
import { sharedMachinery } from "../../functions/default_engine.ts";
import { runRope } from "../../operations/rope/operation.ts";
import {
  readRope,
  type RopeCall,
  ropeNames,
  type RopeOptions,
} from "../../operations/rope/options.ts";
import type { ReadRows } from "./rows.ts";

/** A rotation of a step's rows as it was read. */
export interface Turning {
  readonly call: RopeCall;
  /** `[B, n]`. */
  readonly shape: readonly [batch: number, rows: number];
  /** Whether rows stand behind the tokens that are there; else where the caller says. */
  readonly follows: boolean;
}

/** Reads how rows are turned, which nobody else has. */
export function readTurning(
  rope: Omit<RopeOptions, "layout">,
  q: ReadRows,
  k: ReadRows,
  batch: number,
  doing: string,
): Turning {
  const names = ropeNames.filter((name) => name !== "layout");
  const options = readOptions<RopeOptions>(rope, names, doing);
  const [queries, keys] = [q, k].map(({ data, dtype, rows, heads, columns }) => ({
    ...{ data, dtype, shape: [batch, rows, heads, columns] },
  }));
  return {
    call: readRope(queries, keys, { ...options, layout: "bnhd" }),
    shape: [batch, q.rows],
    follows: options.positions === undefined,
  };
}

/**
 * Turns the rows where they are.
 *
 * @param before Tokens of each sequence before them.
 * @throws {RangeError} When numbers of the rotation do not fit.
 */
export async function turn(
  { call, shape: [batch, rows], follows }: Turning,
  before: readonly number[],
): Promise<void> {
  const numbers = before.flatMap((length) => Array.from({ length: rows }, (_, at) => length + at));
  const positions = { kind: "Array", shape: [batch, rows], numbers };
  await runRope(sharedMachinery(), follows ? { ...call, positions } : call);
}
