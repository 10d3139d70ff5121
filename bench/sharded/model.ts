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
  /** Bytes of a step that were asked, and answered. */
  readonly bytesOut: number;
  readonly bytesIn: number;
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

/**
 * The model by the least that one shard took, for the fewest tokens and for the most, which says most of the machine and
 * least of what else runs on it; `undefined` where that is not known.
 */
export function modelOf(points: readonly Point[]): Model | undefined {
  const alone = points.filter(({ shards }) => shards === 1);
  if (alone.length < 2) return undefined;
  const first = alone[0], last = alone[alone.length - 1];
  const rate = (last.tokens - first.tokens) * tokenBytes / (last.least - first.least);
  return { roundTrip: first.least - first.tokens * tokenBytes / rate, rate };
}
