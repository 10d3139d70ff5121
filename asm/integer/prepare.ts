// What is made of a head's keys and values before its jobs run: their mean, and integers, tile by tile. Of keys that a
// cache stores as bytes no integers are made, and their mean is the one that it has.

import { widen } from "../blocks/widen";
import { setTile } from "../forward";
import { Tile } from "../record";
import { Job } from "../records.gen";
import { F32 } from "../storage";
import { tileOf } from "../scratch";
import { flagsAt, hasStoredKeys, meansAt, tilesOf } from "./head";
import { addKeys, isWithin, quantizeKeys, quantizeValues } from "./quantize";
import { areStoredWithin, isMeanWithin, prepareStored, takeStoredMean } from "./stored";

// Keys of a tile of the head.

// @ts-ignore: decorator
@inline
function keysOf(job: Job, index: usize): usize {
  return min(job.tileKeys, job.keys - index * job.tileKeys);
}

// Finds a tile.
function placeTile(job: Job, tile: Tile, index: usize): void {
  const from = index * job.tileKeys;
  findBlock(job, tile, from);
  setTile(job, tile, from, from + keysOf(job, index));
}

// Brings a tile: where it is in f32.
function bringTile(job: Job, tile: Tile, index: usize): void {
  placeTile(job, tile, index);
  if (tile.block != 0 && job.blockStorage != F32) widen(job, tile);
}

// The token block that a key is in, where the head is in blocks.
export function findBlock(job: Job, tile: Tile, key: usize): void {
  tile.block = 0;
  if (job.tokenBlocks == 0) return;
  const tokens = <usize>job.blockTokens, number = key / tokens;
  tile.block = <usize>load<u32>(job.tokenBlocks + (number << 2));
  tile.blockFirst = number * tokens;
}

// Says which tiles can be integers, and the mean of the keys of these.
function takeMeans(job: Job, tile: Tile): void {
  const means = meansAt(job), dim = job.dim;
  let count: usize = 0;
  memory.fill(means, 0, dim << 2);
  for (let index: usize = 0, tiles = tilesOf(job); index < tiles; index++) {
    bringTile(job, tile, index);
    const keys = keysOf(job, index), is = isWithin(job, tile, keys);
    store<u32>(flagsAt(job) + (index << 2), u32(is));
    if (!is) continue;
    addKeys(tile.k, dim, keys, means);
    count += keys;
  }
  const by: f32 = 1 / <f32>max<usize>(1, count);
  for (let at = means, end = means + (dim << 2); at < end; at += 4) store<f32>(at, load<f32>(at) * by);
}

// The same of keys that are stored as bytes.
function takeStored(job: Job, tile: Tile): void {
  takeStoredMean(job);
  const isMean = isMeanWithin(job);
  for (let index: usize = 0, tiles = tilesOf(job); index < tiles; index++) {
    placeTile(job, tile, index);
    store<u32>(flagsAt(job) + (index << 2), u32(isMean && areStoredWithin(job, tile, keysOf(job, index))));
  }
}

// The keys of a tile become integers; its values are f32 then.
function prepareKeys(job: Job, tile: Tile, index: usize, groups: usize): void {
  if (hasStoredKeys(job)) {
    placeTile(job, tile, index);
    prepareStored(job, tile, groups);
  } else {
    bringTile(job, tile, index);
    quantizeKeys(job, tile, groups);
  }
}

// Makes the integers of a job's head. `scratch` is tile memory of the thread that does it.
export function quantize(job: Job, scratch: usize): void {
  const tile = tileOf(job, scratch);
  tile.s = scratch;
  if (hasStoredKeys(job)) takeStored(job, tile);
  else takeMeans(job, tile);
  for (let index: usize = 0, tiles = tilesOf(job); index < tiles; index++) {
    if (load<u32>(flagsAt(job) + (index << 2)) == 0) continue;
    const keys = keysOf(job, index), values = tile.summed;
    prepareKeys(job, tile, index, (keys + 3) >> 2);
    values.at = tile.v;
    values.row = tile.row;
    values.columns = tile.columns;
    values.count = keys;
    quantizeValues(job, values, index);
  }
}
