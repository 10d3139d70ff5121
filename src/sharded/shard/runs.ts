/**
 * Rows that see keys of a group alike, so that one call of attention to its cache serves them: a group has the
 * pages of a sequence that were dealt to it, and causality and windows are of positions in the whole.
 *
 * @module
 */

import type { Attending, Cell } from "../messages/bodies.ts";

/** Rows of a sequence, one after the other, and which of its own tokens they see. */
export interface Run {
  readonly sequence: number;
  /** Its first row among those of the message. */
  readonly first: number;
  rows: number;
  /** The first row sees the tokens from `from` to before `to`. */
  readonly from: number;
  readonly to: number;
  /** Whether each row sees the same; else both ends, where the first is not 0, move on by one from row to row. */
  isStill: boolean;
}

type Band = Pick<Attending, "isCausal" | "left" | "right">;

/** What a row at a position sees of the whole sequence, from the first to before the second. */
function bandOf(position: number, length: number, { isCausal, left, right }: Band) {
  const behind = isCausal ? 0 : right ?? Infinity;
  const to = Math.min(length, position + behind + 1);
  return [left === null ? 0 : Math.min(Math.max(0, position - left), to), to] as const;
}

/** Whether the next row, with these ends, goes on with a run. */
function goesOn(run: Run, from: number, to: number, held: number): boolean {
  const { rows } = run, isWhole = run.from === 0 && run.to === held;
  const stays = isWhole && from === 0 && to === held;
  const moves = to === run.to + rows && from === (run.from === 0 ? 0 : run.from + rows);
  if (rows === 1) run.isStill = stays;
  return run.isStill ? stays : moves;
}

/**
 * The runs of a cell.
 *
 * @param first Its first row among those of the message.
 * @param before Tokens before a position that the group has.
 * @param held Tokens that the group has.
 */
export function runsOf(
  { sequence, position, rows, length }: Cell,
  first: number,
  band: Band,
  before: (position: number) => number,
  held: number,
): Run[] {
  const runs: Run[] = [];
  for (let row = 0; row < rows; row++) {
    const [from, to] = bandOf(position + row, length, band).map(before);
    const last = runs[runs.length - 1];
    if (last !== undefined && goesOn(last, from, to, held)) last.rows++;
    else runs.push({ sequence, first: first + row, rows: 1, from, to, isStill: false });
  }
  return runs;
}
