// A tile of token blocks becomes f32, as packed heads are.

import { outputBytes, Tile, tileBytes, Columns } from "../record";
import { Job } from "../records.gen";
import { BF16, bf16, F16, f16, F32, loadFour } from "../storage";
import { nibbles } from "./integer";
import { blocksOf, columnsOf, depthOf, GROUP, INT8, keyScaleBytes, scaleStep } from "./layout";

// Bytes of a tile of a cache's keys and values in f32, where they are stored in another way, or of a copy of
// its values.
export function wideBytes(job: Job): usize {
  if (job.tokenBlocks == 0) return 0;
  const keys: usize = job.blockStorage == F32 ? 0 : job.dim << 2, values = outputBytes(job) >> 3;
  return job.tileKeys * (keys + values);
}

// Where they are in tile memory.
export function wideOf(job: Job, tile: Tile): usize {
  return tile.s + tileBytes(job.tileKeys);
}

// Four numbers side by side become f32.
function widenFour<T>(source: usize, target: usize, count: usize): void {
  for (const end = target + (count << 2); target < end; target += 16, source += 4 * sizeof<T>()) {
    v128.store(target, loadFour<T>(source));
  }
}

// Values [width / 4][keys][4] become f32.
function widenValues<T>(v: Columns, width: usize, wide: usize): void {
  const keys = v.count;
  for (let column: usize = 0, at = v.at; column < width; column += 4, at += v.columns) {
    widenFour<T>(at, wide, keys << 2);
    wide += keys << 4;
  }
}

// Eight bytes are four pairs: the first of each, and the second, as f32.

// @ts-ignore: decorator
@inline
function firstOf(pairs: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(pairs, 16), 16));
}

// @ts-ignore: decorator
@inline
function secondOf(pairs: v128): v128 {
  return f32x4.convert_i32x4_s(i32x4.shr_s(pairs, 16));
}

function widenKeyBytes(k: usize, dim: usize, keys: usize, scales: usize, wide: usize): void {
  const pairs = depthOf(INT8, dim) >> 1;
  for (let group: usize = 0; group < keys; group += 4, scales += 16) {
    const scale = v128.load(scales);
    for (let pair: usize = 0; pair < pairs; pair++, k += 8) {
      if ((pair << 1) >= dim) continue;
      const x = v128.load_ext<i8>(k);
      v128.store(wide, f32x4.mul(firstOf(x), scale));
      wide += 16;
      if ((pair << 1) + 1 >= dim) continue;
      v128.store(wide, f32x4.mul(secondOf(x), scale));
      wide += 16;
    }
  }
}

function widenValueBytes(v: Columns, width: usize, scales: usize, wide: usize): void {
  const keys = v.count;
  for (let column: usize = 0, first = v.at; column < width; column += 4, first += v.columns) {
    for (let key: usize = 0, at = first; key < keys; key += 2, at += 8, wide += 32) {
      const x = v128.load_ext<i8>(at), scale = scales + (key << 2);
      v128.store(wide, f32x4.mul(firstOf(x), v128.load_splat<f32>(scale)));
      v128.store(wide, f32x4.mul(secondOf(x), v128.load_splat<f32>(scale, 4)), 16);
    }
  }
}

// Lanes of eight numbers; what is behind the last one is left out.
function widenKeyLanes(k: usize, dim: usize, keys: usize, step: usize, scales: usize, wide: usize): void {
  for (let group: usize = 0; group < keys; group += 4, scales += 16) {
    for (let d: usize = 0; d < dim; d += 8, k += 16) {
      const x = v128.load(k), scale = v128.load(scales + (d / GROUP) * step);
      for (let n: usize = 0, end = min<usize>(8, dim - d); n < end; n++, wide += 16) {
        v128.store(wide, f32x4.mul(nibbles(x, n), scale));
      }
    }
  }
}

function widenValueLanes(v: Columns, width: usize, step: usize, scales: usize, wide: usize): void {
  const keys = v.count;
  for (let column: usize = 0, first = v.at; column < width; column += 4, first += v.columns) {
    const scale = scales + (column / GROUP) * step;
    for (let key: usize = 0, at = first; key < keys; key += 8, at += 16) {
      const x = v128.load(at);
      for (let n: usize = 0, end = min<usize>(8, keys - key); n < end; n++, wide += 16) {
        const factor = v128.load_splat<f32>(scale + ((key + n) << 2));
        v128.store(wide, f32x4.mul(nibbles(x, n), factor));
      }
    }
  }
}

// Adds what all keys of the sequence have in common.
function addMean(wide: usize, mean: usize, dim: usize, keys: usize): void {
  for (let group: usize = 0; group < keys; group += 4) {
    for (let d: usize = 0; d < dim; d++, wide += 16) {
      v128.store(wide, f32x4.add(v128.load(wide), v128.load_splat<f32>(mean + (d << 2))));
    }
  }
}

// The tile's keys and values become f32, for all panels.
export function widen(job: Job, tile: Tile): void {
  const layout = blocksOf(job), storage = layout.storage, keys = tile.keys, dim = job.dim;
  const values = tile.values, width = columnsOf(job.valueDim), step = scaleStep(layout);
  const scales = tile.scales, vScales = scales + keyScaleBytes(layout);
  const wideK = wideOf(job, tile), wideV = wideK + (job.tileKeys * dim << 2);
  if (storage == F16) {
    widenFour<f16>(tile.k, wideK, keys * dim);
    widenValues<f16>(values, width, wideV);
  } else if (storage == BF16) {
    widenFour<bf16>(tile.k, wideK, keys * dim);
    widenValues<bf16>(values, width, wideV);
  } else if (storage == INT8) {
    widenKeyBytes(tile.k, dim, keys, scales, wideK);
    widenValueBytes(values, width, vScales, wideV);
  } else {
    widenKeyLanes(tile.k, dim, keys, step, scales, wideK);
    widenValueLanes(values, width, step, vScales, wideV);
  }
  if (job.means != 0) addMean(wideK, job.means, dim, keys);
  tile.k = wideK;
  tile.v = wideV;
  tile.columns = keys << 4;
}
