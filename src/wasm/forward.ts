/**
 * Forward on Wasm: packs each key/value head once, then runs its jobs one after the other.
 *
 * @module
 */

import type { Target } from "../backend.ts";
import type { AttentionPlan } from "../plan.ts";
import type { View } from "../tensor.ts";
import type { Arena } from "./arena.ts";
import { type Job, open, writeJob } from "./job_record.ts";
import { chooseTiles, type Head, headsOf, type Run, runsOf } from "./jobs.ts";
import type { Kernels } from "./module.ts";
import { copyRowsIn, copyRowsOut, locate, type Resident } from "./staging.ts";
import { takeWorkspace, type Workspace } from "./workspace.ts";

/** Tensors of a plan that live in linear memory. */
interface Residents {
  readonly q?: Resident;
  readonly k?: Resident;
  readonly v?: Resident;
  readonly out?: Resident;
}

/** A call under way. */
interface Call {
  readonly kernels: Kernels;
  readonly arena: Arena;
  readonly plan: AttentionPlan;
  readonly target: Target;
  readonly residents: Residents;
  readonly space: Workspace;
  /** What all jobs of the call have in common. */
  readonly job: Job;
}

/**
 * Runs a plan, job by job; yields the query rows finished after each.
 *
 * Whatever ends the iteration, the call's memory is free again.
 */
export function* forward(
  kernels: Kernels,
  arena: Arena,
  plan: AttentionPlan,
  target: Target,
): Generator<number> {
  const rows = plan.batch * plan.queryHeads * plan.queries;
  if (rows === 0) return;
  if (plan.keys === 0) {
    fillUnseen(target);
    yield rows;
    return;
  }
  // Found before the workspace is taken: growing the memory detaches the callers' views of it.
  const residents = findResidents(plan, target, arena.memory);
  const tiles = chooseTiles(plan);
  const space = takeWorkspace(arena, plan, tiles, {
    q: residents.q !== undefined,
    values: residents.v !== undefined,
    out: residents.out !== undefined,
  });
  try {
    const job = commonJob(plan, target, space, tiles);
    const call = { kernels, arena, plan, target, residents, space, job };
    for (const head of headsOf(plan)) {
      const values = packHead(call, head);
      for (const run of runsOf(plan)) {
        runJob(call, head, run, values);
        yield (run.to - run.from) * plan.group;
      }
    }
  } finally {
    space.free();
  }
}

/** No key at all: every row gives 0 and -inf. */
function fillUnseen(target: Target): void {
  const fill = (view: View, value: number) => {
    const [batch, heads, rows, columns] = view.shape;
    const row = new Float32Array(rows * columns).fill(value);
    for (let b = 0; b < batch; b++) {
      for (let h = 0; h < heads; h++) copyRowsOut(row, view, b, h, 0, rows);
    }
  };
  fill(target.out, 0);
  if (target.lse) fill(target.lse, -Infinity);
}

function findResidents(
  plan: AttentionPlan,
  target: Target,
  memory: WebAssembly.Memory,
): Residents {
  const v = locate(plan.v, memory);
  return {
    q: locate(plan.q, memory),
    k: locate(plan.k, memory),
    // Values are read four columns at a time, so these must be neighbours.
    v: v?.strides[3] === 4 || plan.valueDim === 1 ? v : undefined,
    out: locate(target.out, memory),
  };
}

function commonJob(
  plan: AttentionPlan,
  target: Target,
  space: Workspace,
  tiles: { rows: number; keys: number },
): Job {
  const { dim, valueDim, group, keys, band } = plan;
  return {
    q: space.q,
    qPosition: dim * 4,
    qHead: 0,
    qElement: 4,
    k: space.keys,
    v: space.values,
    vKey: 16,
    vColumns: keys * 16,
    out: space.out,
    outPosition: valueDim * 4,
    outHead: 0,
    outElement: 4,
    lse: target.lse ? space.lse : 0,
    lsePosition: 4,
    lseHead: 0,
    group,
    positions: 0,
    keys,
    dim,
    valueDim,
    tileRows: tiles.rows,
    tileKeys: tiles.keys,
    scratch: space.scratch,
    scale: plan.scale * Math.LOG2E,
    diagonal: 0,
    bandLeft: band.left === Infinity ? open : band.left,
    bandRight: band.right === Infinity ? open : band.right,
    softcap: 0,
    slopes: 0,
    sinks: 0,
    bias: 0,
    biasPosition: 0,
    biasHead: 0,
    biasKey: 0,
    mask: 0,
    maskPosition: 0,
    maskHead: 0,
    maskKey: 0,
    blockMask: 0,
  };
}

/** Where the values of a head are read. */
type Values = Pick<Job, "v" | "vKey" | "vColumns">;

/** Packs the keys of a head, and its values unless they are read in place. */
function packHead(call: Call, { batch, keyHead }: Head): Values {
  const { kernels, plan, residents, space } = call;
  const { keys, dim, valueDim } = plan;
  if (residents.k) {
    const { strides } = residents.k;
    const at = headAt(residents.k, batch, keyHead);
    kernels.packKeys(at, strides[2], strides[3], space.keys, dim, keys);
  } else {
    stageRows(call, plan.k, batch, keyHead, (from, count) => {
      kernels.packKeys(space.staging, dim * 4, 4, space.keys + from * dim * 4, dim, count);
    });
  }
  if (residents.v) {
    const v = headAt(residents.v, batch, keyHead);
    return { v, vKey: residents.v.strides[2], vColumns: 16 };
  }
  stageRows(call, plan.v, batch, keyHead, (from, count) => {
    const target = space.values + from * 16;
    kernels.packValues(space.staging, valueDim * 4, 4, target, keys * 16, valueDim, count);
  });
  return { v: space.values, vKey: 16, vColumns: keys * 16 };
}

function headAt({ at, strides }: Resident, batch: number, head: number): number {
  return at + batch * strides[0] + head * strides[1];
}

/** Brings the rows of a head into linear memory, some at a time. */
function stageRows(
  { arena, space }: Call,
  view: View,
  batch: number,
  head: number,
  pack: (from: number, count: number) => void,
): void {
  const [, , rows, width] = view.shape;
  for (let from = 0; from < rows; from += space.stagingRows) {
    const to = Math.min(from + space.stagingRows, rows);
    const staging = floats(arena, space.staging, (to - from) * width);
    copyRowsIn(view, batch, head, from, to, staging);
    pack(from, to - from);
  }
}

/** A fresh array over linear memory: none may be kept where the memory could grow. */
function floats(arena: Arena, at: number, length: number): Float32Array {
  return new Float32Array(arena.memory.buffer, at, length);
}

/** Runs one job: queries in, kernel, results out. */
function runJob(call: Call, head: Head, run: Run, values: Values): void {
  const { kernels, arena, plan, space } = call;
  const job: Job = {
    ...call.job,
    ...values,
    ...queriesOf(call, head, run),
    ...resultsOf(call, head, run),
    positions: run.to - run.from,
    diagonal: clampOffset(run.from + plan.offsets[head.batch]),
  };
  writeJob(new DataView(arena.memory.buffer), space.record, job);
  kernels.forward(space.record);
  collectResults(call, head, run);
}

/** Brings the queries of a job into linear memory unless they live there. */
function queriesOf(
  { arena, plan, residents, space }: Call,
  { batch, keyHead }: Head,
  { from, to }: Run,
): Partial<Job> {
  const firstHead = keyHead * plan.group;
  if (residents.q) {
    const [, qHead, qPosition, qElement] = residents.q.strides;
    const q = headAt(residents.q, batch, firstHead) + from * qPosition;
    return { q, qHead, qPosition, qElement };
  }
  const length = (to - from) * plan.dim;
  for (let g = 0; g < plan.group; g++) {
    const rows = floats(arena, space.q + g * length * 4, length);
    copyRowsIn(plan.q, batch, firstHead + g, from, to, rows);
  }
  return { qHead: length * 4 };
}

/** Where the kernel puts the results of a job. */
function resultsOf(
  { plan, residents }: Call,
  { batch, keyHead }: Head,
  { from, to }: Run,
): Partial<Job> {
  const lseHead = (to - from) * 4;
  if (!residents.out) return { outHead: (to - from) * plan.valueDim * 4, lseHead };
  const [, outHead, outPosition, outElement] = residents.out.strides;
  const out = headAt(residents.out, batch, keyHead * plan.group) + from * outPosition;
  return { out, outHead, outPosition, outElement, lseHead };
}

/** Hands the results of a job to the caller's tensors outside linear memory. */
function collectResults(
  { arena, plan, target, residents, space }: Call,
  { batch, keyHead }: Head,
  { from, to }: Run,
): void {
  const positions = to - from, length = positions * plan.valueDim;
  for (let g = 0; g < plan.group; g++) {
    const head = keyHead * plan.group + g;
    if (!residents.out) {
      const rows = floats(arena, space.out + g * length * 4, length);
      copyRowsOut(rows, target.out, batch, head, from, to);
    }
    if (target.lse) {
      const rows = floats(arena, space.lse + g * positions * 4, positions);
      copyRowsOut(rows, target.lse, batch, head, from, to);
    }
  }
}

/** Offsets beyond any number of keys mean the same as far ones, which fit 32 bits. */
function clampOffset(offset: number): number {
  return Math.max(-(2 ** 30), Math.min(offset, 2 ** 30));
}
