/**
 * A run: query positions of one head.
 *
 * @module
 */

/** Query positions `from` to `to` of a segment, for one key/value head. */
export interface Run {
  /** Index among the plan's segments. */
  readonly segment: number;
  readonly keyHead: number;
  readonly from: number;
  readonly to: number;
}
