/**
 * What runners on a GPU work with.
 *
 * @module
 */

import type { Course } from "./course.ts";
import type { Session } from "./session.ts";

/** A session, and whether it may go on. */
export interface Machine {
  readonly session: Session;
  /** Where a call is one of several that are submitted together, all on buffers: there its dispatches go. */
  readonly recording?: Course;
  /** Throws where the engine was closed. */
  open(): void;
}
