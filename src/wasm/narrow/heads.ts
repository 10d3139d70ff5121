/**
 * Keys and values on their way to the kernels of few queries: a piece at a time, or read where they live.
 *
 * @module
 */

import type { TensorKeys } from "../../operations/attention/plan.ts";
import { bytesPerElement, type Elements } from "../../tensor/dtype.ts";
import { copyRowsIn } from "../../tensor/rows.ts";
import type { View } from "../../tensor/tensor.ts";
import { headAt } from "../attention/records.ts";
import type { HostPlan, Run } from "../attention/run.ts";
import type { Arena } from "../memory/arena.ts";
import { elementsOver, locate, type Resident } from "../memory/tensor.ts";
import { storageOf } from "../record/job_record.ts";
import type { Machine } from "../team/machine.ts";
import type { KeyPiece } from "./key_pieces.ts";
import { narrowKernels } from "./program.ts";

/** A tensor of keys or values. */
interface Source {
  readonly view: View;
  /** Where it lives in linear memory; absent where it does not. */
  readonly resident?: Resident | undefined;
  /** Whether its rows are read there: f32, side by side. */
  readonly stays: boolean;
}

/** Keys and values of a call. */
export interface Sources {
  readonly k: Source;
  readonly v: Source;
  /** Whether keys are read as rows, by the only query; others have them packed. */
  readonly keyRows: boolean;
}

/** Finds where keys and values are. */
export function findSources(
  plan: HostPlan,
  { k, v }: TensorKeys<View>,
  arena: Arena,
): Sources {
  const keyRows = plan.segments.every(({ queries }) => queries * plan.group <= 1);
  const find = (view: View) => {
    const resident = locate(view, arena);
    const isReadable = view.dtype === "f32" && resident !== undefined &&
      (resident.strides[3] === 4 || view.shape[3] === 1);
    return { view, resident, stays: isReadable };
  };
  const keys = find(k);
  return { k: { ...keys, stays: keys.stays && keyRows }, v: find(v), keyRows };
}

/** Where the rows of a piece are, and bytes from one to the next. */
export function rowsOf(
  plan: HostPlan,
  { view, resident, stays }: Source,
  { segment, keyHead }: Run,
  { firstKey }: KeyPiece,
  place: number,
): { readonly at: number; readonly row: number } {
  if (!stays) return { at: place, row: view.shape[3] * 4 };
  const { batch, firstKey: first } = plan.segments[segment], row = resident!.strides[2];
  return { at: headAt(resident!, batch, keyHead) + (first + firstKey) * row, row };
}

/** Places of the keys and values of a piece, and of rows on their way there. */
interface Places {
  readonly keys: number;
  readonly values: number;
  readonly staging: number;
}

/** Brings the keys and values of a piece. */
export function bringPiece(
  machine: Machine,
  plan: HostPlan,
  { k, v, keyRows }: Sources,
  run: Run,
  piece: KeyPiece,
  { keys, values, staging }: Places,
): void {
  if (piece.keys === 0) return;
  const { kernels, arena } = machine;
  const bring = (source: Source, place: number) => {
    if (source.stays) return;
    const { view, resident } = source;
    if (view.dtype === "f32" && resident === undefined) {
      copyRows(arena, plan, view, run, piece, place);
      return;
    }
    const { rows, at } = rowsFor(machine, plan, source, run, piece, staging);
    narrowKernels(machine).packRows(rows, at, place, view.shape[3], piece.keys);
  };
  if (keyRows) bring(k, keys);
  else {
    const { rows, at } = rowsFor(machine, plan, k, run, piece, staging);
    kernels.packKeys(rows, at, keys, plan.dim, piece.keys);
  }
  bring(v, values);
}

/** Elements of a page of memory, 4 KiB of f32. */
const pageElements = 1024;

/**
 * Copies the first number of each page of memory that rows side by side are in, from an element on: what reads ahead stops
 * where a page does, so that the next ones come while the first are copied. Of other rows some numbers, no matter which: all
 * are written again.
 */
function beginPages({ data }: View, from: number, rows: Elements): void {
  const elements = data.now();
  for (let at = 0; at < rows.length; at += pageElements) rows[at] = elements[from + at];
}

/** Copies the rows of a piece out of a caller's array. */
function copyRows(
  arena: Arena,
  plan: HostPlan,
  view: View,
  { segment, keyHead }: Run,
  { firstKey, keys }: KeyPiece,
  to: number,
): void {
  const { batch, firstKey: first } = plan.segments[segment], from = first + firstKey;
  const rows = elementsOver(arena, to, keys * view.shape[3], view.dtype);
  beginPages(
    view,
    view.offset + batch * view.strides[0] + keyHead * view.strides[1] + from * view.strides[2],
    rows,
  );
  copyRowsIn(view, batch, keyHead, from, from + keys, rows);
}

/** Rows where kernels can read them, what they are like and where they begin: where they live, or copied. */
function rowsFor(
  { kernels, arena }: Machine,
  plan: HostPlan,
  { view, resident }: Source,
  run: Run,
  piece: KeyPiece,
  staging: number,
): { rows: number; at: number } {
  const bytes = bytesPerElement(view.dtype), storage = storageOf[view.dtype];
  if (resident === undefined) {
    copyRows(arena, plan, view, run, piece, staging);
    const rows = kernels.headRows(0, staging, bytes, storage, view.shape[3] * bytes);
    return { rows, at: staging };
  }
  const [, , row, element] = resident.strides, { batch, firstKey } = plan.segments[run.segment];
  const at = headAt(resident, batch, run.keyHead) + (firstKey + piece.firstKey) * row;
  return { rows: kernels.headRows(0, staging, element, storage, row), at };
}
