/**
 * What a shard does not do, and why: it becomes an answer.
 *
 * @module
 */

import type { RefusalReason } from "./errors.ts";

/** Thrown where a message is not done. */
export class Refusal extends Error {
  readonly reason: RefusalReason;

  constructor(reason: RefusalReason, text: string) {
    super(text);
    this.reason = reason;
  }
}
