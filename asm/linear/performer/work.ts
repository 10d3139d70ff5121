// What a job of performer attention has under way: sizes, and where everything is in the scratch memory of its thread.

import { Columns, Powers } from "../../record";
import { PerformerJob } from "../../records.gen";

// Rows that are looked at together: keys that are taken into sums, and queries that see some of them.
export const CHUNK: usize = 64;

@unmanaged
export class Work {
  // Sizes: features up to a multiple of eight, columns of values up to a multiple of four, steps of a key's products.
  features: usize;
  columns: usize;
  depth: usize;
  // Keys of the chunk, [CHUNK / 4][depth][4], how many they are, and their values, [columns / 4][CHUNK][4].
  keys: usize;
  count: usize;
  values: usize;
  // Their exponents, which become features, [features / 8][CHUNK][8], `panel` bytes from one eight to the next: 0 where
  // each takes the place of the one before. The greatest exponents so far, [features].
  exponents: usize;
  panel: usize;
  greatest: usize;
  // The features once more, with keys side by side: [CHUNK / 8][features][8].
  turnedKeys: usize;
  // Sums as queries see them: [columns / 4][features][4], z[features], and what their features are more, [features].
  turned: usize;
  turnedZ: usize;
  levels: usize;
  // The same [features / 8][columns][8], where gradients need them; else 0.
  plain: usize;
  // Eight queries, [dim][8], their features, [features][8], products with those of keys, [CHUNK][8], and results,
  // [columns][8].
  query: usize;
  queryFeatures: usize;
  weights: usize;
  results: usize;
  // Of eight features or queries: the exponent that counts as 0, and factors of what was summed before.
  shift: usize;
  alpha: usize;
  beforeFactor: usize;
  localFactor: usize;
  // What a product is of, and a pass of powers.
  columnsOf: Columns;
  powers: Powers;
  // Where the next place is.
  end: usize;

  @inline
  take(bytes: usize): usize {
    const at = this.end;
    this.end = at + ((bytes + 15) & ~15);
    return at;
  }
}

// @ts-ignore: decorator
@inline
export function featuresOf(job: PerformerJob): usize {
  return (job.features + 7) & ~7;
}

// @ts-ignore: decorator
@inline
export function columnsOf(job: PerformerJob): usize {
  return (job.valueDim + 3) & ~3;
}

// Where places are in scratch memory, behind their record.

// @ts-ignore: decorator
@inline
export function behindWork(scratch: usize): usize {
  return scratch + ((offsetof<Work>() + 15) & ~15);
}

// The places of a job, whose record is at `scratch`, from `first` on.
export function layOut(job: PerformerJob, scratch: usize, isInChunks: bool, first: usize): Work {
  const work = changetype<Work>(scratch), features = featuresOf(job), columns = columnsOf(job), dim = job.dim;
  const depth = dim + (job.isRelu ? 0 : 1);
  work.features = features;
  work.columns = columns;
  work.depth = depth;
  work.end = first;
  work.keys = work.take(CHUNK * depth << 2);
  work.values = work.take(CHUNK * columns << 2);
  work.panel = isInChunks ? CHUNK << 5 : 0;
  work.exponents = work.take(isInChunks ? CHUNK * features << 2 : CHUNK << 5);
  work.greatest = work.take(features << 2);
  work.turnedKeys = isInChunks ? work.take(CHUNK * features << 2) : 0;
  work.turned = work.take(features * columns << 2);
  work.turnedZ = work.take(features << 2);
  work.levels = work.take(features << 2);
  work.plain = 0;
  work.query = work.take(dim << 5);
  work.queryFeatures = work.take(features << 5);
  work.weights = work.take(CHUNK << 5);
  work.results = work.take(columns << 5);
  work.shift = work.take(32);
  work.alpha = work.take(32);
  work.beforeFactor = work.take(32);
  work.localFactor = work.take(32);
  work.columnsOf = changetype<Columns>(work.take(offsetof<Columns>()));
  work.powers = changetype<Powers>(work.take(offsetof<Powers>()));
  work.columnsOf.skipped = 0;
  work.powers.width = 32;
  return work;
}

// Bytes of the places of a job.
export function workBytes(job: PerformerJob): usize {
  const features = featuresOf(job), columns = columnsOf(job), dim = job.dim;
  const ofChunk = dim + 1 + columns + 8 + max<usize>(8, job.isInChunks ? features << 1 : 0);
  return (CHUNK * ofChunk << 2) + (features * (columns + 11) << 2) + (dim + columns << 5) + 1024;
}
