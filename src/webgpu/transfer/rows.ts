/**
 * Rows by themselves, with no keys to see: how they are cut, and the workgroups for them.
 *
 * @module
 */

import type { Extents } from "../../tensor/tensor.ts";
import type { Session } from "../device/session.ts";
import { type Grid, Loan } from "../device/submission.ts";
import type { Box } from "./box.ts";
import { cutRegion, extent, mostWorkgroups } from "./regions.ts";

/** Threads of the shaders that go through rows. */
export const rowThreads = 64;

/** All columns of some rows. */
type Rows = Omit<Box, "columns">;

/** The boxes of `[B, H, N]` whose bindings and whose dispatches the device takes. */
export function* rowBoxes(
  { bounds: { bindingBytes } }: Session,
  [batch, heads, rows]: Extents,
  threads: number,
  bytes: (box: Box) => readonly number[],
): Generator<Box> {
  if (batch * heads * rows === 0) return;
  const fits = (box: Box) =>
    [...gridOf(box, threads)].every((groups) => groups <= mostWorkgroups) &&
    bytes(box).every((one) => one <= bindingBytes);
  yield* cutRegion({ batch: [0, batch], heads: [0, heads], rows: [0, rows] } as Rows, fits);
}

/** Workgroups for the rows of a box, each with so many threads. */
export function gridOf({ batch, heads, rows }: Box, threads: number): Grid {
  return [Math.ceil(extent(rows) * threads / rowThreads), extent(heads), extent(batch)];
}

export async function withLoan(
  session: Session,
  use: (loan: Loan) => Promise<void>,
): Promise<void> {
  const loan = new Loan(session);
  try {
    await use(loan);
  } finally {
    loan.end();
  }
}
