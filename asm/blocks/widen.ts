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

// The first of four bytes in each lane, times a factor.

// @ts-ignore: decorator
@inline
function byteOf(x: v128, by: v128): v128 {
  return f32x4.mul(f32x4.convert_i32x4_s(i32x4.shr_s(i32x4.shl(x, 24), 24)), by);
}

function widenKeyBytes(k: usize, dim: usize, keys: usize, scales: usize, wide: usize): void {
  const group = depthOf(INT8, dim) << 2;
  for (let key: usize = 0; key < keys; key += 4, scales += 16, k += group) {
    const scale = v128.load(scales);
    let x = v128.load(k);
    for (let d: usize = 0, at = k; d < dim; wide += 16) {
      v128.store(wide, byteOf(x, scale));
      x = (++d & 3) == 0 ? v128.load(at += 16) : i32x4.shr_u(x, 8);
    }
  }
}

function widenValueBytes(v: Columns, width: usize, scales: usize, wide: usize): void {
  const keys = v.count << 2;
  for (let column: usize = 0, first = v.at; column < width; column += 4, first += v.columns) {
    let x = v128.load(first);
    for (let key: usize = 0; key < keys; wide += 16) {
      v128.store(wide, byteOf(x, v128.load_splat<f32>(scales + key)));
      key += 4;
      x = (key & 12) == 0 ? v128.load(first + key) : i32x4.shr_u(x, 8);
    }
  }
}

// The values alone of a tile of bytes become f32.
export function widenTileValues(job: Job, tile: Tile, width: usize): void {
  const wide = wideOf(job, tile);
  widenValueBytes(tile.values, width, tile.scales + keyScaleBytes(blocksOf(job)), wide);
  tile.v = wide;
  tile.columns = tile.keys << 4;
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
