// Values that must not be multiplied by 0: those that are not finite leave a trace.

import { areFinite, isDecoding } from "./decode";
import { Columns, Tile } from "./record";
import { Job } from "./records.gen";
import { loadFour } from "./storage";

// Whether the values of the keys from..to are all finite. Where one is not, it must not be
// multiplied by the 0 weight of a query that does not see it.
export function finiteValues<T>(v: usize, row: usize, columns: usize, dim: usize, from: usize, to: usize): bool {
  let sum = f32x4.splat(0);
  for (let group: usize = 0; group < dim; group += 4) {
    // Counted by key, since rows may lie on top of each other (stride 0).
    for (let key = from, at = v + from * row; key < to; key++, at += row) {
      const x = loadFour<T>(at);
      sum = f32x4.add(sum, f32x4.sub(x, x)); // 0, or NaN for an infinity or NaN
    }
    v += columns;
  }
  return v128.any_true(f32x4.ne(sum, sum)) == false;
}

// Whether the values of some keys are finite, counted from `begin`.
export function areValuesFinite(job: Job, values: Columns, from: usize, to: usize): bool {
  return from >= to || finiteValues<f32>(values.at, values.row, values.columns, job.valueDim, from, to);
}

const FINITE: u32 = 1;
const NOT_FINITE: u32 = 2;

// The same of all keys of a tile, looked up once for all of its panels.
function isTileFinite(job: Job, tile: Tile): bool {
  if (tile.finite == 0) tile.finite = areValuesFinite(job, tile.values, 0, tile.keys) ? FINITE : NOT_FINITE;
  return tile.finite == FINITE;
}

// Whether all values may be multiplied by weights of 0. Those that some row must not see are looked at, since
// 0 * NaN would leave a trace. Which rows are computed with others, and what nobody sees, changes no sum: only where
// zeros stand.
export function isHarmless(job: Job, tile: Tile, values: Columns, masked: bool): bool {
  const begin = tile.begin, end = tile.end;
  if (isDecoding(job)) {
    return !masked && tile.fullFrom == begin && tile.fullTo == end || areFinite(job, tile);
  }
  if (masked) return isTileFinite(job, tile);
  return areValuesFinite(job, values, 0, tile.fullFrom - begin) &&
    areValuesFinite(job, values, tile.fullTo - begin, end - begin);
}
