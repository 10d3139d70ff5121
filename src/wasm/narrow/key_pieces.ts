/**
 * Pieces of keys: what is brought into linear memory at a time, part after part, for few queries.
 *
 * @module
 */

import { partsOf } from "../attention/jobs.ts";
import type { HostPlan, Run } from "../attention/run.ts";
import { keysPerPart } from "../record/job_record.ts";

/** Bytes of keys and values of a piece: most of them are still in L2 when they are used, and copies of less take longer. */
const pieceBytes = 512 * 1024;

/** Keys of a job. */
export interface KeyPiece {
  /** The part that they are in. */
  readonly part: number;
  readonly firstKey: number;
  readonly keys: number;
  /** Whether it is the first of its part. */
  readonly begins: boolean;
}

/** Keys of a piece: whole tiles, as many as make a part in equal steps. */
export function keysPerPiece({ dim, valueDim }: HostPlan, tile: number): number {
  const steps = Math.ceil(keysPerPart * (dim + valueDim) * 4 / pieceBytes);
  return Math.ceil(keysPerPart / steps / tile) * tile;
}

/** The pieces that a run's queries see. */
export function keyPiecesOf(plan: HostPlan, run: Run, most: number): KeyPiece[] {
  const { keys } = plan.segments[run.segment];
  return Array.from({ length: partsOf(plan, run) }, (_, part) => {
    const firstKey = part * keysPerPart, count = Math.min(keysPerPart, keys - firstKey);
    return piecesOfPart(plan, run, { part, firstKey, keys: count, begins: true }, most);
  }).flat();
}

/** The pieces of a part that some query sees; where there is none, one without keys. */
function piecesOfPart(
  plan: HostPlan,
  { segment, from, to }: Run,
  whole: KeyPiece,
  most: number,
): KeyPiece[] {
  const { offset } = plan.segments[segment], { left, right } = plan.band, { firstKey } = whole;
  const seen = Math.max(0, from + offset - left - firstKey);
  const end = Math.min(whole.keys, to + offset + right - firstKey);
  const pieces: KeyPiece[] = [];
  for (let at = Math.floor(seen / most) * most; at < end; at += most) {
    const keys = Math.min(most, end - at), begins = pieces.length === 0;
    pieces.push({ ...whole, firstKey: firstKey + at, keys, begins });
  }
  return pieces.length > 0 ? pieces : [{ ...whole, keys: 0 }];
}
