/**
 * Terms: bias and mask of a run on their way into linear memory, row by row as the kernel reads them.
 *
 * @module
 */

import type { AttentionPlan } from "../../operations/attention/plan.ts";
import type { HeldArray } from "../../tensor/arrays.ts";
import type { Broadcast } from "../../tensor/tensor.ts";
import { type Arena, roundUp } from "../memory/arena.ts";
import { copyMaskRow, maskRowBytes } from "../memory/mask_rows.ts";
import type { Run } from "./run.ts";

/** Rows of a bias or a mask that a run stages, and the bytes of each. */
interface Rows {
  /** 1 where all heads of the group have the same. */
  readonly heads: number;
  /** 1 where all positions have the same. */
  readonly positions: number;
  readonly rowBytes: number;
}

function bytesOf({ heads, positions, rowBytes }: Rows): number {
  return heads * positions * rowBytes;
}

/** Bytes of a row of a bias: the kernel reads four keys at a time. */
function biasRowBytes(keys: number): number {
  return roundUp(keys, 4) * 4;
}

function rowsOf(
  { strides }: Broadcast,
  plan: AttentionPlan,
  positions: number,
  rowBytes: number,
): Rows {
  return {
    heads: strides[1] === 0 ? 1 : plan.group,
    positions: strides[2] === 0 ? 1 : positions,
    rowBytes,
  };
}

function biasRows(plan: AttentionPlan, positions: number, keys: number): Rows {
  return rowsOf(plan.bias!, plan, positions, biasRowBytes(keys));
}

function maskRows(plan: AttentionPlan, positions: number, keys: number): Rows {
  return rowsOf(plan.mask!, plan, positions, maskRowBytes(plan.mask!, keys));
}

/** Bytes that each further query position of a run takes. */
export function termBytesPerPosition(plan: AttentionPlan): number {
  const perPosition = (rows: Rows) => rows.positions === 1 ? 0 : bytesOf(rows) / rows.positions;
  return (plan.bias === null ? 0 : perPosition(biasRows(plan, 2, plan.keys))) +
    (plan.mask === null ? 0 : perPosition(maskRows(plan, 2, plan.keys)));
}

/** Bytes that the bias of a run takes. */
export function biasBytes(plan: AttentionPlan, run: Run): number {
  if (plan.bias === null) return 0;
  return bytesOf(biasRows(plan, run.to - run.from, plan.segments[run.segment].keys));
}

/** Bytes that the mask of a run takes. */
export function maskBytes(plan: AttentionPlan, run: Run): number {
  if (plan.mask === null) return 0;
  return bytesOf(maskRows(plan, run.to - run.from, plan.segments[run.segment].keys));
}

/** Where the bias of a run is: an address. */
export interface BiasPlace {
  readonly at: number;
  /** Bytes from one position to the next, and from one head. */
  readonly position: number;
  readonly head: number;
}

/** Where the mask of a run is. */
export interface MaskPlace extends BiasPlace {
  readonly isBits: boolean;
}

/** Calls back for every row that is staged: the element where it begins, and its address. */
function eachRow(
  view: Broadcast,
  plan: AttentionPlan,
  run: Run,
  rows: Rows,
  at: number,
  copy: (element: number, address: number) => void,
): void {
  const { batch, firstQuery, firstKey } = plan.segments[run.segment];
  const { offset, strides } = view;
  const first = offset + batch * strides[0] + run.keyHead * plan.group * strides[1] +
    (firstQuery + run.from) * strides[2] + firstKey * strides[3];
  for (let head = 0; head < rows.heads; head++) {
    for (let position = 0; position < rows.positions; position++) {
      copy(first + head * strides[1] + position * strides[2], at);
      at += rows.rowBytes;
    }
  }
}

function strides({ heads, positions, rowBytes }: Rows): { position: number; head: number } {
  return {
    position: positions === 1 ? 0 : rowBytes,
    head: heads === 1 ? 0 : positions * rowBytes,
  };
}

/** Brings the bias of a run into linear memory. */
export function stageBias(
  arena: Arena,
  plan: AttentionPlan,
  run: Run,
  at: number,
): BiasPlace {
  const view = plan.bias!, data = (view.data as HeldArray<Float32Array>).now();
  const { keys } = plan.segments[run.segment];
  const rows = biasRows(plan, run.to - run.from, keys), step = view.strides[3];
  const memory = new Float32Array(arena.memory.buffer);
  eachRow(view, plan, run, rows, at, (element, address) => {
    const to = address / 4;
    if (step === 1) memory.set(data.subarray(element, element + keys), to);
    else if (step === 0) memory.fill(data[element], to, to + keys);
    else for (let key = 0; key < keys; key++) memory[to + key] = data[element + key * step];
  });
  return { at, ...strides(rows) };
}

/** Brings the mask of a run into linear memory. */
export function stageMask(
  arena: Arena,
  plan: AttentionPlan,
  run: Run,
  at: number,
): MaskPlace {
  const view = plan.mask!, data = (view.data as HeldArray<Uint8Array | Uint32Array>).now();
  const { keys } = plan.segments[run.segment];
  const rows = maskRows(plan, run.to - run.from, keys);
  const memory = new Uint8Array(arena.memory.buffer);
  eachRow(view, plan, run, rows, at, (element, address) => {
    copyMaskRow(view, data, element, keys, memory.subarray(address, address + rows.rowBytes));
  });
  return { at, ...strides(rows), isBits: view.dtype === "bit" };
}
