/**
 * The search for tiles: every sensible one that keeps the device's limits, run by the library's own
 * code, against the one in the library's table.
 *
 * @module
 */

import { type AttentionPlan, planAttention } from "../../src/operations/attention/plan.ts";
import { sizeOf, type View } from "../../src/tensor/tensor.ts";
import { forward } from "../../src/webgpu/attention/forward.ts";
import {
  chooseTile,
  fits,
  keysOf,
  rowsOf,
  type Tile,
} from "../../src/webgpu/attention/variants.ts";
import type { Gpu } from "../../src/webgpu/device/device.ts";
import { Session } from "../../src/webgpu/device/session.ts";
import { numbers } from "../numbers.ts";
import { type BenchDType, difference, download, newBuffer, upload } from "./data.ts";
import { type Candidate, reasonOf, type Search, type Tell } from "./report.ts";
import type { Sizes } from "./sizes.ts";
import { callOften, time, timeRound } from "./timing.ts";

/** Output vectors of a thread beyond which registers do not hold them. */
const mostVectors = 4;

/** Keys that are summed before they are added to what there is: a whole number of tiles. */
const mostKeys = 64;

/** A candidate that takes so many times as long as the best so far is not timed any further. */
const hopeless = 2;

const dtypes = ["f32", "f16"] as const;

/** What is computed to judge a tile of the table. */
interface Demand {
  readonly name: string;
  readonly queryHeads: number;
  readonly keyHeads: number;
  readonly queries: number;
  readonly keys: number;
  readonly dim: number;
}

function demandsOf({ heads, search: { length, keys, shapes: names } }: Sizes): Demand[] {
  const square = { queryHeads: heads, keyHeads: heads, queries: length, keys: length };
  const all: Demand[] = [
    { name: "D=64", ...square, dim: 64 },
    { name: "D=128", ...square, dim: 128 },
    { name: "D=256", ...square, dim: 256 },
    // One new token of a model with four query heads per key/value head.
    { name: "flat", queryHeads: 4 * heads, keyHeads: heads, queries: 1, keys, dim: 128 },
  ];
  return all.filter(({ name }) => names.includes(name));
}

function describe({ queryHeads, keyHeads, queries, keys, dim }: Demand): string {
  return `H=${queryHeads}/${keyHeads} D=${dim}, ${queries} queries, ${keys} keys, dense`;
}

/** Multiply-adds counted as two. */
function workOf({ queryHeads, queries, keys, dim }: Demand): number {
  return 4 * queryHeads * queries * keys * dim;
}

/** Whether the shader can be written so, and nothing of the tile would lie idle. */
function isSensible(tile: Tile, { dim }: Demand): boolean {
  const { TX, TY, ROWS, SLICE, VALUES, queries } = tile, vectors = dim / 4, threads = TX * TY;
  const isStaged = [SLICE * keysOf(tile), SLICE * rowsOf(tile), VALUES * keysOf(tile)]
    .every((staged) => staged % threads === 0);
  return isStaged && ROWS / 4 * VALUES / TX <= mostVectors && keysOf(tile) <= mostKeys &&
    SLICE <= vectors && VALUES <= vectors && (queries !== "whole" || SLICE >= vectors);
}

/** Every choice of one of each. */
function choicesOf<T>(of: { readonly [Name in keyof T]: readonly T[Name][] }): T[] {
  return Object.entries<readonly unknown[]>(of).reduce<object[]>(
    (all, [name, values]) =>
      all.flatMap((one) => values.map((value) => ({ ...one, [name]: value }))),
    [{}],
  ) as T[];
}

/** Every tile that is tried, the table's first. */
function candidatesFor(demand: Demand, gpu: Gpu): Tile[] {
  const { dim, queries, queryHeads, keyHeads } = demand;
  const chosen = chooseTile({ dim, valueDim: dim, queries, group: queryHeads / keyHeads }, gpu);
  const all = choicesOf<Omit<Tile, "extension">>({
    TX: [8, 16, 32],
    TY: demand.name === "flat" ? [1, 2, 4, 8] : [8, 16],
    ROWS: demand.name === "flat" ? [4] : [4, 8],
    RK: [1, 2, 4],
    SLICE: [8, 16],
    VALUES: [8, 16, 32],
    queries: ["slices", "read"],
  }).filter(({ TX, VALUES }) => VALUES % TX === 0);
  const others = all.filter((tile) =>
    isSensible(tile, demand) && fits(tile, gpu.device.limits) && !sameTile(tile, chosen)
  );
  return [chosen, ...others];
}

/** So many of a list, from all over it. */
function spread<T>(list: readonly T[], most: number): T[] {
  if (list.length <= most) return [...list];
  return Array.from({ length: most }, (_, i) => list[Math.floor((i + 0.5) * list.length / most)]);
}

function sameTile(a: Tile, b: Tile): boolean {
  return (Object.keys(a) as (keyof Tile)[]).every((key) => a[key] === b[key]);
}

/** A demand on the device, in one element type. */
interface Placed {
  readonly plan: AttentionPlan;
  readonly out: GPUBuffer;
  destroy(): void;
}

function place({ device }: Gpu, demand: Demand, dtype: BenchDType): Placed {
  const { queryHeads, keyHeads, queries, keys, dim } = demand;
  const shapes = [[queryHeads, queries, dim], [keyHeads, keys, dim], [keyHeads, keys, dim]];
  const inputs = shapes.map((shape, index) => ({
    data: upload(device, numbers(sizeOf(shape), index + 1), dtype),
    ...{ shape, dtype },
  }));
  const out = newBuffer(device, sizeOf(shapes[0]), dtype);
  const [q, k, v] = inputs;
  return {
    plan: planAttention(q, k, v, { out: { data: out, shape: shapes[0], dtype } }),
    out,
    destroy: () => [...inputs.map(({ data }) => data), out].forEach((buffer) => buffer.destroy()),
  };
}

/** The search over one demand and element type. */
class Trial {
  readonly #gpu: Gpu;
  readonly #session: Session;
  readonly #placed: Placed;
  readonly #dtype: BenchDType;
  #expected: Float32Array | undefined;
  #best = Infinity;

  constructor(gpu: Gpu, session: Session, demand: Demand, dtype: BenchDType) {
    this.#gpu = gpu;
    this.#session = session;
    this.#placed = place(gpu, demand, dtype);
    this.#dtype = dtype;
  }

  /** Milliseconds of a call with a tile; the first tile's result is what the others' must be. */
  async time(tile: Tile, sizes: Sizes): Promise<number> {
    const { device } = this.#gpu;
    const subject = { submit: (calls: number) => callOften(calls, () => this.#run(tile)) };
    await subject.submit(1);
    await this.#check();
    const once = await timeRound(device, subject, 1);
    if (once > hopeless * this.#best && once > sizes.search.bounds.round) return once;
    const { median } = await time(device, subject, sizes.search.bounds);
    this.#best = Math.min(this.#best, median);
    return median;
  }

  close(): void {
    this.#placed.destroy();
  }

  #run(tile: Tile): Promise<void> {
    const { plan } = this.#placed;
    const target = { out: plan.out as View<GPUBuffer>, lse: null };
    return forward(this.#session, plan, target, {}, () => {}, tile);
  }

  async #check(): Promise<void> {
    const { device } = this.#gpu, { out } = this.#placed;
    const result = await download(device, out, this.#dtype);
    this.#expected ??= result;
    const off = difference(result, this.#expected);
    // Sums in another order; f16 may fall to the neighbour.
    const tolerance = this.#dtype === "f32" ? 1e-5 : 1e-3;
    if (off > tolerance) throw new Error(`wrong result: off by ${off} from the table's tile`);
    // What the next tile leaves out must not be there from this one.
    device.queue.writeBuffer(out, 0, new Uint8Array(out.size).fill(0xff));
  }
}

function candidateOf(
  tile: Tile,
  milliseconds: Readonly<Record<BenchDType, number>>,
  first: Readonly<Record<BenchDType, number>>,
  work: number,
  chosen: boolean,
): Candidate {
  const { f32, f16 } = milliseconds;
  return {
    ...{ tile, chosen },
    gflops: { f32: work / f32 / 1e6, f16: work / f16 / 1e6 },
    factor: Math.sqrt((first.f32 / f32) * (first.f16 / f16)),
  };
}

async function searchFor(gpu: Gpu, demand: Demand, sizes: Sizes): Promise<Search> {
  const [chosen, ...others] = candidatesFor(demand, gpu);
  const session = new Session(gpu);
  const trials = dtypes.map((dtype) => new Trial(gpu, session, demand, dtype));
  const candidates: Candidate[] = [], missing: { tile: Tile; reason: string }[] = [];
  let first: Record<BenchDType, number> | undefined;
  try {
    for (const tile of [chosen, ...spread(others, sizes.search.most)]) {
      try {
        const [f32, f16] = [await trials[0].time(tile, sizes), await trials[1].time(tile, sizes)];
        first ??= { f32, f16 };
        const work = workOf(demand);
        candidates.push(candidateOf(tile, { f32, f16 }, first, work, tile === chosen));
      } catch (error) {
        // Without the table's tile there is nothing to compare with.
        if (tile === chosen) throw error;
        missing.push({ tile, reason: reasonOf(error) });
      }
    }
  } finally {
    for (const trial of trials) trial.close();
    session.close();
  }
  candidates.sort((a, b) => a.factor - b.factor);
  return { name: demand.name, problem: describe(demand), candidates, missing };
}

/** Searches for every tile of the table. */
export async function searchTiles(gpu: Gpu, sizes: Sizes, tell: Tell): Promise<void> {
  for (const demand of demandsOf(sizes)) {
    try {
      await tell({ kind: "search", search: await searchFor(gpu, demand, sizes) });
    } catch (error) {
      const what = `search for \`${demand.name}\``;
      await tell({ kind: "missing", missing: { what, reason: reasonOf(error) } });
    }
  }
}
