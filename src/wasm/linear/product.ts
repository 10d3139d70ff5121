/**
 * Products of matrices on Wasm: factors where they are, or some of them at a time on their way through linear memory.
 * The depth is cut at whole parts, and sums stay in linear memory from one wave to the next.
 *
 * @module
 */

import type { View } from "../../tensor/tensor.ts";
import { threadedWork } from "../attention/jobs.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import { Placer } from "../memory/placer.ts";
import { locate } from "../memory/tensor.ts";
import { JobRecord } from "../record/job_record.ts";
import * as field from "../record/rows.gen.ts";
import { productPart, rowsKinds } from "../record/rows.ts";
import type { Machine } from "../team/machine.ts";
import type { Step } from "../team/steps.ts";
import { addressOf, collectRows, type Place, placeRows, stageRows } from "../rows/places.ts";
import { type Jobs, runStaged } from "../rows/staged.ts";
import { linearKernels, linearProgram } from "./program.ts";

/** A matrix of a tensor: rows and columns of one head, or the other way round. */
export interface Matrix {
  readonly view: View;
  readonly batch: number;
  readonly head: number;
  readonly isTurned?: boolean;
}

/** y = the sum of the products of pairs of factors. */
export interface Product {
  readonly terms: readonly { readonly a: Matrix; readonly x: Matrix }[];
  readonly y: Matrix;
}

/** Extents of y, and the most that a term is summed over. */
interface Sizes {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
}

/** Rows and columns of a matrix, from the first to before the last. */
interface Part {
  readonly rows: readonly [number, number];
  readonly columns: readonly [number, number];
}

/** A tile of some y. */
interface Tile extends Part {
  readonly product: Product;
}

/** Tiles whose sums are in linear memory together, from `sums` on. */
interface Group {
  readonly tiles: readonly Tile[];
  readonly sums: number;
}

/** What is added to all tiles of a group: some of the depth of a term. */
interface Wave {
  readonly term: number;
  readonly depth: readonly [number, number];
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

/** What the waves of a call have in common. */
interface Call {
  readonly machine: Machine;
  readonly sizes: Sizes;
  /** Threads that the work is enough for. */
  readonly threads: number;
}

/** Rows and columns of a tile at most: its sums stay in L2. */
const mostRows = 256, mostColumns = 256;

/** Bytes of sums of a group, and of what a wave stages. */
const groupBytes = 4 * 1024 * 1024, stagedBytes = 4 * 1024 * 1024;

/** Multiply-adds of a wave for each thread, some 25 ms, and of a job that is worth another thread. */
const waveWork = 500e6, jobWork = 1e6;

/** Records of a wave at most. */
const mostJobs = 256;

/** Rows and columns of a matrix. */
function extentsOf({ view: { shape: [, , rows, columns] }, isTurned }: Matrix): [number, number] {
  return isTurned ? [columns, rows] : [rows, columns];
}

function sizesOf({ terms, y }: Product): Sizes {
  const [rows, columns] = extentsOf(y);
  return { rows, columns, depth: Math.max(...terms.map(({ a }) => extentsOf(a)[1])) };
}

/** Ranges of some extent, each of at most so much. */
function* rangesOf(extent: number, most: number): Generator<readonly [number, number]> {
  for (let from = 0; from < extent; from += most) yield [from, Math.min(extent, from + most)];
}

/** Computes products of one size, and of as many terms each. */
export function* products(machine: Machine, all: readonly Product[]): Generator<Step> {
  if (all.length === 0) return;
  const sizes = sizesOf(all[0]), { rows, columns, depth } = sizes;
  const work = rows * columns * depth * all[0].terms.length * all.length;
  const call = { machine, sizes, threads: work < threadedWork ? 1 : machine.threads };
  const tiles = tilesOf(call, all);
  const tile = sumsOf(call);
  const most = Math.max(
    1,
    Math.min(Math.floor(groupBytes / tile), mostJobs / 4, fitting(call, all[0])),
  );
  for (let first = 0; first < tiles.length; first += most) {
    const group = tiles.slice(first, first + most);
    const sums = machine.arena.allocate(group.length * tile);
    try {
      yield* runGroup(call, { tiles: group, sums }, tile);
    } finally {
      machine.arena.free(sums);
    }
  }
}

function tilesOf({ sizes: { rows, columns } }: Call, all: readonly Product[]): Tile[] {
  return all.flatMap((product) =>
    [...rangesOf(rows, mostRows)].flatMap((rows) =>
      [...rangesOf(columns, mostColumns)].map((columns) => ({ product, rows, columns }))
    )
  );
}

/** Bytes of the sums of a tile, the same for all of a call. */
function sumsOf({ sizes }: Call): number {
  const rows = Math.min(sizes.rows, mostRows), columns = Math.min(sizes.columns, mostColumns);
  return roundUp(rows, 8) * roundUp(columns, 4) * 4;
}

/** Bytes that a step of the depth stages of a tile. */
function bytesPerStep({ machine: { arena }, sizes }: Call, { terms: [{ a, x }] }: Product): number {
  const rows = locate(a.view, arena) ? 0 : Math.min(sizes.rows, mostRows);
  const columns = locate(x.view, arena) ? 0 : Math.min(sizes.columns, mostColumns);
  return (rows + columns) * 4;
}

/** Tiles of which a wave can stage a part of the depth. */
function fitting(call: Call, product: Product): number {
  const least = Math.min(call.sizes.depth, productPart) * bytesPerStep(call, product);
  return Math.floor(stagedBytes / Math.max(1, least));
}

/** Steps of the depth of a wave: whole parts. */
function depthOf(call: Call, { tiles }: Group): number {
  const { sizes: { rows, columns }, threads } = call, [{ product }] = tiles;
  const work = Math.min(rows, mostRows) * Math.min(columns, mostColumns) * tiles.length;
  const most = Math.min(
    threads * waveWork / work,
    stagedBytes / Math.max(1, bytesPerStep(call, product) * tiles.length),
  );
  return Math.max(1, Math.floor(most / productPart)) * productPart;
}

/** The waves of a group: one also where there is nothing to be summed. */
function* wavesOf(call: Call, group: Group): Generator<Wave> {
  const { terms } = group.tiles[0].product, step = depthOf(call, group);
  for (let term = 0; term < terms.length; term++) {
    const [, depth] = extentsOf(terms[term].a);
    for (let from = 0; from === 0 || from < depth; from += step) {
      const to = Math.min(depth, from + step);
      const isFirst = term === 0 && from === 0, isLast = term === terms.length - 1 && to === depth;
      yield { term, depth: [from, to], isFirst, isLast };
    }
  }
}

/** A tile with the places of what it reads and writes. */
interface PlacedTile {
  readonly tile: Tile;
  readonly sums: number;
  readonly a: PlacedMatrix;
  readonly x: PlacedMatrix;
  readonly y: PlacedMatrix | undefined;
}

/** Part of a matrix as its tensor has it, and where it is. */
interface PlacedMatrix {
  readonly matrix: Matrix;
  readonly view: View;
  readonly from: number;
  readonly to: number;
  readonly place: Place;
}

function runGroup(call: Call, group: Group, tileBytes: number): Generator<Step> {
  const { machine, threads } = call;
  return runStaged(wavesOf(call, group), {
    ...{ machine, threads, program: linearProgram(machine) },
    place: (wave) => placeWave(call, group, tileBytes, wave),
    rows: () => 0,
  });
}

function placeWave(
  call: Call,
  group: Group,
  tileBytes: number,
  wave: Wave,
): { space: Placer; jobs: Jobs } {
  const { arena } = call.machine, space = new Placer(0), places = new Places(arena, space);
  const tiles = group.tiles.map((tile, index) =>
    placeTile(places, tile, wave, group.sums + index * tileBytes)
  );
  const cut = tiles.flatMap((tile) => cutTile(call, tile, wave, tiles.length));
  const jobs: Jobs = {
    ...{ count: cut.length, scratch: scratchOf(call, cut, wave) },
    stage: (block) => places.stage(block),
    write: (index, block, record) => writeJob(call, cut[index], wave, block, record),
    collect({ at }) {
      for (const { y } of tiles) if (y) collect(y, arena, at);
    },
  };
  return { space, jobs };
}

/** The places of what a wave reads, each once. */
class Places {
  readonly #arena: Arena;
  readonly #space: Placer;
  readonly #placed = new Map<View, Map<string, PlacedMatrix>>();

  constructor(arena: Arena, space: Placer) {
    this.#arena = arena;
    this.#space = space;
  }

  /** Where a part of a matrix is. */
  find(matrix: Matrix, part: Part): PlacedMatrix {
    const { view, batch, head } = matrix, key = `${batch} ${head} ${part.rows} ${part.columns}`;
    const places = this.#placed.get(view) ?? new Map<string, PlacedMatrix>();
    this.#placed.set(view, places);
    const placed = places.get(key) ?? this.place(matrix, part);
    places.set(key, placed);
    return placed;
  }

  /** The same of what is written. */
  place(matrix: Matrix, { rows, columns }: Part): PlacedMatrix {
    const [[from, to], [first, end]] = matrix.isTurned ? [columns, rows] : [rows, columns];
    const { view: { offset, shape: [b, h, n], strides, ...rest }, batch, head } = matrix;
    const view: View = {
      ...{ ...rest, strides, offset: offset + first * strides[3], shape: [b, h, n, end - first] },
    };
    const place = placeRows(view, { batch, head, from, to }, this.#arena, this.#space);
    return { matrix, view, from, to, place };
  }

  /** Brings what is read into linear memory. */
  stage(block: number): void {
    for (const places of this.#placed.values()) {
      for (const { place, view, from, to, matrix: { batch, head } } of places.values()) {
        stageRows(place, view, { batch, head, from, to }, this.#arena, block);
      }
    }
  }
}

function collect(
  { place, view, from, to, matrix }: PlacedMatrix,
  arena: Arena,
  block: number,
): void {
  const { batch, head } = matrix;
  collectRows(place, view, { batch, head, from, to }, arena, block);
}

function placeTile(places: Places, tile: Tile, wave: Wave, sums: number): PlacedTile {
  const { product, rows, columns } = tile, { a, x } = product.terms[wave.term];
  return {
    ...{ tile, sums },
    a: places.find(a, { rows, columns: wave.depth }),
    x: places.find(x, { rows: wave.depth, columns }),
    y: wave.isLast ? places.place(product.y, { rows, columns }) : undefined,
  };
}

/** Some rows of a tile, from one on. */
interface Job extends PlacedTile {
  readonly first: number;
  readonly rows: number;
}

/** Cuts a tile into jobs of whole panels of rows: enough of them that all threads have some. */
function cutTile({ threads }: Call, tile: PlacedTile, wave: Wave, tiles: number): Job[] {
  const { rows: [from, to], columns } = tile.tile, rows = to - from;
  const work = rows * (columns[1] - columns[0]) * (wave.depth[1] - wave.depth[0]);
  const wanted = threads === 1 ? 1 : Math.ceil(4 * threads / tiles);
  const count = Math.max(
    1,
    Math.min(wanted, Math.floor(work / jobWork), Math.floor(mostJobs / tiles)),
  );
  const step = roundUp(Math.ceil(rows / count), 8);
  return [...rangesOf(rows, step)].map(([first, end]) => ({ ...tile, first, rows: end - first }));
}

/** Bytes of tile memory that each thread needs: no job has more rows or columns than the first. */
function scratchOf({ machine }: Call, [first]: readonly Job[], wave: Wave): number {
  const { kernels, arena } = machine, at = kernels.callRecord();
  writeSizes(new JobRecord(new Int32Array(arena.memory.buffer), at / 4), first, wave);
  return linearKernels(machine).scratchBytes(at) >>> 0;
}

function writeSizes(record: JobRecord, { tile: { columns }, rows }: Job, { depth }: Wave): void {
  record.set(field.productKind, rowsKinds.product);
  record.set(field.productRows, rows);
  record.set(field.productColumns, columns[1] - columns[0]);
  record.set(field.productDepth, depth[1] - depth[0]);
}

function writeJob({ machine }: Call, job: Job, wave: Wave, block: number, at: number): void {
  const record = new JobRecord(new Int32Array(machine.arena.memory.buffer), at / 4);
  const { a, x, y, first, tile: { columns } } = job;
  writeSizes(record, job, wave);
  record.set(field.productSplats, machine.splats);
  writeMatrix(record, field.productA, a, first, block);
  writeMatrix(record, field.productX, x, 0, block);
  if (y) writeMatrix(record, field.productY, y, first, block);
  record.set(field.productSums, job.sums + first * roundUp(columns[1] - columns[0], 4) * 4);
  record.set(field.productIsFirst, Number(wave.isFirst));
  record.set(field.productIsLast, Number(wave.isLast));
}

/** Says in a record where a matrix is, from one of its rows on, in the order of `headRowsFields`. */
function writeMatrix(
  record: JobRecord,
  at: number,
  { place, matrix: { isTurned } }: PlacedMatrix,
  first: number,
  block: number,
): void {
  const [element, row] = isTurned ? [place.row, place.element] : [place.element, place.row];
  record.set(at, addressOf(place, block) + first * row);
  record.set(at + 1, element);
  record.set(at + 2, place.storage);
  record.set(at + 3, row);
}

/** A matrix as it is, or the other way round. */
export function matrix(view: View, batch: number, head: number, isTurned = false): Matrix {
  return {
    view,
    batch: view.shape[0] === 1 ? 0 : batch,
    head: view.shape[1] === 1 ? 0 : head,
    isTurned,
  };
}
