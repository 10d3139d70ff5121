/**
 * What a step costs by two figures: a round trip, and how fast a shard reads.
 *
 * @module
 */

/** A layer of a model of some 8 billion weights. */
export const heads = 32, kvHeads = 8, dim = 128;

/** What a step took. */
export interface Point {
  readonly shards: number;
  readonly tokens: number;
  /** Milliseconds: the median, and the least. */
  readonly median: number;
  readonly least: number;
}

/** A step in milliseconds: a round trip, and the reading of a shard's keys and values. */
export interface Model {
  readonly roundTrip: number;
  /** Of a shard, in bytes a millisecond. */
  readonly rate: number;
}

/** Bytes of a token's keys and values. */
export const tokenBytes = kvHeads * 2 * dim * 4;

/** What the model says of as many machines. */
export function stepBy({ roundTrip, rate }: Model, shards: number, tokens: number): number {
  return roundTrip + tokens * tokenBytes / (shards * rate);
}
