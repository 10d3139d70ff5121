/**
 * The workspace of one call: every byte that it needs beyond the caller's tensors, taken as one
 * block before the first kernel runs. Constant in N but for one packed key/value head.
 *
 * @module
 */

import type { Kernels } from "../binary/kernels.gen.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import { Placer } from "../memory/placer.ts";
import * as job from "../record/job.gen.ts";
import type { Words } from "../record/job_record.ts";
import { type Cut, jobsPerWave, partsOf, type Wave, wavesOf } from "./jobs.ts";
import { intervalBytes } from "./key_intervals.ts";
import type { HostPlan, Run } from "./run.ts";
import { biasBytes, maskBytes } from "./terms.ts";

/** Rows of keys or values that are staged at once before they are packed: at most this many bytes. */
const stagingBytes = 256 * 1024;

/**
 * Packed heads of at most this many bytes are held twice, so that the next are packed while the last
 * are read. Of larger ones packing is too small a part to pay for the memory.
 */
const packedAheadBytes = 8 * 1024 * 1024;

/** Addresses of what a run has of a wave. */
export interface Places {
  /** Parts that its keys are seen in. */
  readonly parts: number;
  /** Packed keys and values of its head. */
  readonly keys: number;
  readonly values: number;
  readonly q: number;
  readonly out: number;
  readonly lse: number;
  readonly lseRest: number;
  /** Panels of its jobs where these are split over keys, once per part. */
  readonly panels: number;
  readonly bias: number;
  readonly mask: number;
  readonly intervals: number;
  readonly pages: number;
  /** What is made of its head where it goes by integers. */
  readonly integers: number;
}

/** A wave with the places of its runs, and of the records of its jobs. */
export interface PlacedWave extends Wave {
  readonly places: readonly Places[];
  readonly records: number;
  /** Where its packed heads end, and what else it has. */
  readonly ends: readonly [packed: number, staged: number];
}

/** Addresses of what all waves share. */
export interface Workspace {
  /** Where heads are packed: two places where the next are packed while the last are read. */
  readonly packed: readonly number[];
  /** Where waves are staged: two places where the next is staged while the last runs. */
  readonly staged: readonly number[];
  /** ALiBi's slopes and sinks of the whole call. */
  readonly slopes: number;
  readonly sinks: number;
  /** Rows on their way to be packed. */
  readonly staging: number;
  readonly stagingRows: number;
  /** Tile memory, once per thread. */
  readonly scratch: number;
  readonly scratchStride: number;
  free(): void;
}

/** What places depend on besides a plan and how it is cut. */
export interface Needs {
  readonly job: JobSizes;
  /** What lives elsewhere and needs no place. */
  readonly q: boolean;
  readonly values: boolean;
  readonly out: boolean;
  readonly bias: boolean;
  /** Whether what rounding took from `lse` has a place all the same: where it is asked for. */
  readonly rest?: boolean;
  /** Bytes that are made of a segment's heads: their integers. */
  readonly integers?: (segment: number) => number;
}

/** Bytes that the kernels need for a job of a call. */
export interface JobSizes {
  /** Tile memory of a thread. */
  readonly scratch: number;
  /** A panel of eight rows that is kept. */
  readonly panel: number;
}

/** Asks the kernels, by what all jobs have in common. */
export function measureJob(kernels: Kernels, { memory }: Arena, words: Words): JobSizes {
  const record = kernels.callRecord();
  new Int32Array(memory.buffer, record, words.length).set(words);
  return { scratch: kernels.scratchBytes(record) >>> 0, panel: kernels.panelBytes(record) };
}

/** Gives a run its places. */
function placeRun(
  plan: HostPlan,
  needs: Needs,
  run: Run,
  packed: Placer,
  staged: Placer,
): Places {
  const { dim, valueDim, kv } = plan, { keys } = plan.segments[run.segment];
  const rows = (run.to - run.from) * plan.group, parts = partsOf(plan, run);
  return {
    parts,
    keys: packed.place(kv.kind === "pages" ? 0 : roundUp(keys, 4) * dim * 4),
    values: packed.place(needs.values ? 0 : keys * roundUp(valueDim, 4) * 4),
    q: staged.place(needs.q ? 0 : rows * dim * 4),
    out: staged.place(needs.out ? 0 : rows * valueDim * 4),
    lse: staged.place(rows * 4),
    lseRest: staged.place(needs.rest ? rows * 4 : 0),
    panels: staged.place(parts === 1 ? 0 : (parts + 1) * panelBytes(needs.job, rows)),
    bias: staged.place(needs.bias ? 0 : biasBytes(plan, run)),
    mask: staged.place(maskBytes(plan, run)),
    intervals: staged.place(intervalBytes(plan, run)),
    pages: staged.place(blockListBytes(plan, keys)),
    integers: packed.place(needs.integers?.(run.segment) ?? 0),
  };
}

/** Gives a wave its places, from these on. */
export function placeWave(
  plan: HostPlan,
  cut: Cut,
  needs: Needs,
  wave: Wave,
  packedAt = 0,
  stagedAt = 0,
): PlacedWave {
  const packed = new Placer(packedAt), staged = new Placer(stagedAt);
  const places: Places[] = [];
  let parts = 0;
  for (const run of wave.runs) {
    const place = placeRun(plan, needs, run, packed, staged);
    places.push(place);
    parts += place.parts;
  }
  const records = staged.place(Math.max(jobsPerWave, parts * cut.members) * job.bytes);
  return { ...wave, places, records, ends: [packed.end, staged.end] };
}

/** Every wave of a plan; those that follow one another have different places if there are two. */
export function* placeWaves(
  plan: HostPlan,
  cut: Cut,
  needs: Needs,
  { packed, staged }: Workspace,
): Generator<PlacedWave> {
  let waves = 0, packings = 0;
  for (const wave of wavesOf(plan, cut)) {
    if (wave.packs) packings++;
    const packedAt = packed[packings % packed.length], stagedAt = staged[waves++ % staged.length];
    yield placeWave(plan, cut, needs, wave, packedAt, stagedAt);
  }
}

/** Bytes of the list of so many keys' blocks. */
function blockListBytes({ kv }: HostPlan, keys: number): number {
  return kv.kind === "pages" ? kv.store.countBlocks(keys) * 4 : 0;
}

/** Bytes of the panels of so many rows. */
export function panelBytes({ panel }: JobSizes, rows: number): number {
  return Math.ceil(rows / 8) * panel;
}

/** The most bytes that a wave takes, and how many there are. */
function measureWaves(plan: HostPlan, cut: Cut, needs: Needs) {
  let packed = 0, staged = 0, waves = 0, packings = 0;
  for (const wave of wavesOf(plan, cut)) {
    const { ends } = placeWave(plan, cut, needs, wave);
    packed = Math.max(packed, ends[0]);
    staged = Math.max(staged, ends[1]);
    waves++;
    if (wave.packs) packings++;
  }
  return { packed, staged, waves, packings };
}

/** Takes the workspace of a plan. */
export function takeWorkspace(
  arena: Arena,
  plan: HostPlan,
  cut: Cut,
  needs: Needs,
): Workspace {
  const { dim, valueDim } = plan;
  const { packed, staged, waves, packings } = measureWaves(plan, cut, needs);
  const width = Math.max(dim, valueDim);
  const keys = plan.kv.kind === "pages" ? 0 : roundUp(plan.keys, 4);
  const stagingRows = Math.min(keys, Math.max(4, Math.floor(stagingBytes / (width * 16)) * 4));
  const scratchStride = roundUp(needs.job.scratch, 64);
  const ahead = cut.threads > 1 && waves > 1 &&
    (packings === 1 || packed <= packedAheadBytes);
  const layOut = (space: Placer) => ({
    ...{ stagingRows, scratchStride },
    staging: space.place(stagingRows * width * 4),
    scratch: space.place(cut.threads * scratchStride),
    slopes: space.place((plan.slopes?.length ?? 0) * 4),
    sinks: space.place((plan.sinks?.length ?? 0) * 4),
    packed: twice(ahead && packings > 1, () => space.place(packed)),
    staged: twice(ahead, () => space.place(staged)),
  });
  const measured = new Placer(0);
  layOut(measured);
  const block = arena.allocate(measured.end);
  return { ...layOut(new Placer(block)), free: () => arena.free(block) };
}

function twice<T>(needed: boolean, make: () => T): T[] {
  return needed ? [make(), make()] : [make()];
}
