/**
 * What runners on a GPU work with.
 *
 * @module
 */

import type { Session } from "./session.ts";

/** A session, and whether it may go on. */
export interface Machine {
  readonly session: Session;
  /** Throws where the engine was closed. */
  open(): void;
}
