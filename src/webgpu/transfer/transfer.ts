/**
 * Transfer: where a part of a tensor is on the GPU, and how it comes there and back. A caller's buffer
 * is bound as it is; an array is uploaded whole, or part by part where a buffer cannot hold it.
 *
 * @module
 */

import { bytesPerElement, type Elements } from "../../tensor/dtype.ts";
import { copyRowsIn, copyRowsOut } from "../../tensor/rows.ts";
import { type AnyView, isOnHost, type View } from "../../tensor/tensor.ts";
import { roles } from "../device/buffers.ts";
import type { Session } from "../device/session.ts";
import type { Loan, Returned, Submission } from "../device/submission.ts";
import type { Access, PageAccess } from "../shader/access.ts";
import type { Parameters } from "../shader/parameters.ts";
import { extent, type Range } from "./regions.ts";

/** Part of a tensor: ranges of its batches, its heads and its rows. */
export interface Box {
  readonly batch: Range;
  readonly heads: Range;
  readonly rows: Range;
}

/** Elements from one index to the next. */
export interface Strides {
  readonly batch: number;
  readonly head: number;
  readonly row: number;
  readonly column: number;
}

/** A box as a shader sees it: a binding, and where in it the box begins, in elements. */
export interface Window extends Returned {
  readonly at: number;
  readonly strides: Strides;
  /** Of `lse`: elements from there to what rounding took from it; and how both come to the caller's buffers. */
  readonly restAt?: number;
  readonly copyOut?: (submission: Submission) => void;
}

/** An input. */
export interface Source<Accessed extends PageAccess = Access> {
  readonly access: Accessed;
  /** Bytes of the binding of a box. */
  bytes(box: Box): number;
  place(box: Box): Promise<Window>;
  /** Told when all that was placed is submitted: it may be overwritten. */
  settle(): void;
}

/** A result. */
export interface Sink extends Source {
  /** Takes a box that was read back to the caller. */
  collect(box: Box, bytes: ArrayBuffer): void;
}

/** Bytes that are gathered at once before they are uploaded. */
export const gatherBytes = 4 * 1024 * 1024;

/** Columns of a row as it is uploaded: whole vectors. */
export function paddedColumns(view: AnyView): number {
  return Math.ceil(view.shape[3] / 4) * 4;
}

function stridesOf([batch, head, row, column]: readonly number[]): Strides {
  return { batch, head, row, column };
}

/** Strides of a contiguous box. */
export function denseStrides({ heads, rows }: Box, columns: number): Strides {
  const row = columns, head = extent(rows) * row;
  return { batch: extent(heads) * head, head, row, column: 1 };
}

/** Rows of a box. */
export function count({ batch, heads, rows }: Box): number {
  return extent(batch) * extent(heads) * extent(rows);
}

/** The whole of a tensor. */
export function wholeOf({ shape: [batch, heads, rows] }: AnyView): Box {
  return { batch: [0, batch], heads: [0, heads], rows: [0, rows] };
}

/** Whether a tensor can be read and written in vectors of four neighbours. */
export function isVectored({ shape, strides, offset }: AnyView): boolean {
  const whole = (stride: number, axis: number) => shape[axis] <= 1 || stride % 4 === 0;
  return shape[3] % 4 === 0 && strides[3] === 1 && offset % 4 === 0 &&
    strides.slice(0, 3).every(whole);
}

/** Where a box of a buffer's view is. */
export function windowOf(view: View<GPUBuffer>, box: Box, alignment: number): Window {
  const { data: buffer, offset, strides, shape, dtype } = view;
  const bytes = bytesPerElement(dtype);
  const first = offset + box.batch[0] * strides[0] + box.heads[0] * strides[1] +
    box.rows[0] * strides[2];
  const extents = [extent(box.batch), extent(box.heads), extent(box.rows), shape[3]];
  const span = extents.reduce((sum, n, axis) => sum + (n - 1) * strides[axis], 1);
  const begin = Math.floor(first * bytes / alignment) * alignment;
  const end = Math.min(buffer.size, Math.ceil((first + span) * bytes / 16) * 16);
  return {
    buffer,
    offset: begin,
    size: end - begin,
    at: first - begin / bytes,
    strides: stridesOf(strides),
  };
}

/** An input or a result that a shader has nothing to read of or write to. */
export async function emptyWindow(loan: Loan): Promise<Window> {
  const buffer = await loan.take(256, roles.storage, "nothing");
  return { buffer, offset: 0, size: 256, at: 0, strides: stridesOf([0, 0, 0, 0]) };
}

class BufferSource implements Sink {
  readonly access: Access;
  readonly #view: View<GPUBuffer>;
  readonly #alignment: number;
  readonly #loan: Loan;

  constructor(view: View<GPUBuffer>, session: Session, loan: Loan) {
    this.access = { dtype: view.dtype, vectors: isVectored(view) };
    this.#view = view;
    this.#alignment = session.gpu.device.limits.minStorageBufferOffsetAlignment;
    this.#loan = loan;
  }

  bytes(box: Box): number {
    return count(box) === 0 ? 256 : windowOf(this.#view, box, this.#alignment).size;
  }

  async place(box: Box): Promise<Window> {
    if (count(box) === 0) return await emptyWindow(this.#loan);
    return windowOf(this.#view, box, this.#alignment);
  }

  settle(): void {}

  collect(): void {}
}

/** What a call has uploaded of an array, by its boxes. */
export class Uploads<Uploaded extends { readonly data: GPUBuffer }> {
  readonly #session: Session;
  readonly #loan: Loan;
  readonly #known = new Map<string, Uploaded>();

  constructor(session: Session, loan: Loan) {
    this.#session = session;
    this.#loan = loan;
  }

  /** A box that is uploaded already, or is now. */
  async of(box: object, upload: () => Promise<Uploaded>): Promise<Uploaded> {
    const key = JSON.stringify(box);
    const known = this.#known.get(key) ?? await upload();
    this.#known.set(key, known);
    return known;
  }

  /** Keeps as many bytes as a whole array may have: the next region often reads the same keys. */
  settle(): void {
    let bytes = 0;
    for (const { data } of this.#known.values()) bytes += data.size;
    if (bytes <= this.#session.bounds.wholeBytes) return;
    for (const { data } of this.#known.values()) this.#loan.give(data);
    this.#known.clear();
  }
}

class ArraySource implements Source {
  readonly access: Access;
  readonly #view: View;
  readonly #session: Session;
  readonly #loan: Loan;
  readonly #name: string;
  readonly #bytes: number;
  readonly #uploads: Uploads<View<GPUBuffer>>;

  constructor(view: View, session: Session, loan: Loan, name: string) {
    this.access = { dtype: view.dtype, vectors: true };
    this.#view = view;
    this.#session = session;
    this.#loan = loan;
    this.#name = name;
    this.#bytes = paddedColumns(view) * bytesPerElement(view.dtype);
    this.#uploads = new Uploads(session, loan);
  }

  /** Whether the whole array is uploaded at once. */
  get #isWhole(): boolean {
    return count(wholeOf(this.#view)) * this.#bytes <= this.#session.bounds.wholeBytes;
  }

  bytes(box: Box): number {
    if (!this.#isWhole || count(box) === 0) return count(box) * this.#bytes;
    const strides = denseStrides(wholeOf(this.#view), paddedColumns(this.#view));
    const span = (extent(box.batch) - 1) * strides.batch + (extent(box.heads) - 1) * strides.head +
      extent(box.rows) * strides.row;
    // The binding may have to begin before the box.
    return span * bytesPerElement(this.#view.dtype) + 256;
  }

  async place(box: Box): Promise<Window> {
    if (count(box) === 0) return await emptyWindow(this.#loan);
    const whole = this.#isWhole;
    const { device } = this.#session.gpu;
    const uploaded = whole ? wholeOf(this.#view) : box;
    const view = await this.#uploads.of(uploaded, () => this.#upload(uploaded));
    const [batch, heads, rows] = view.shape;
    const all = { batch: [0, batch], heads: [0, heads], rows: [0, rows] } as const;
    return windowOf(view, whole ? box : all, device.limits.minStorageBufferOffsetAlignment);
  }

  async #upload(box: Box): Promise<View<GPUBuffer>> {
    const columns = paddedColumns(this.#view);
    const data = await this.#loan.take(count(box) * this.#bytes, roles.storage, this.#name);
    const { queue } = this.#session.gpu.device;
    this.#loan.attempt(() => uploadRows(queue, data, this.#view, box));
    const { batch, head, row, column } = denseStrides(box, columns);
    return {
      data,
      dtype: this.#view.dtype,
      offset: 0,
      shape: [extent(box.batch), extent(box.heads), extent(box.rows), columns],
      strides: [batch, head, row, column],
    };
  }

  settle(): void {
    if (!this.#isWhole) this.#uploads.settle();
  }
}

/** Writes the rows of a box into a buffer, one after the other, each padded to whole vectors. */
export function uploadRows(queue: GPUQueue, buffer: GPUBuffer, view: View, box: Box): void {
  const columns = paddedColumns(view), bytes = bytesPerElement(view.dtype);
  const atOnce = Math.max(1, Math.floor(gatherBytes / (columns * bytes)));
  const gathered = newElements(view, Math.min(atOnce, extent(box.rows)) * columns);
  let target = 0;
  for (let b = box.batch[0]; b < box.batch[1]; b++) {
    for (let h = box.heads[0]; h < box.heads[1]; h++) {
      for (let from = box.rows[0]; from < box.rows[1]; from += atOnce) {
        const to = Math.min(from + atOnce, box.rows[1]);
        const part = gathered.subarray(0, (to - from) * columns);
        gatherRows(view, b, h, from, to, part, columns);
        queue.writeBuffer(buffer, target, part);
        target += part.byteLength;
      }
    }
  }
}

export function newElements(view: View, length: number): Elements & { buffer: ArrayBuffer } {
  return view.dtype === "f32" ? new Float32Array(length) : new Uint16Array(length);
}

export function gatherRows(
  view: View,
  b: number,
  h: number,
  from: number,
  to: number,
  target: Elements,
  columns: number,
): void {
  if (columns === view.shape[3]) return copyRowsIn(view, b, h, from, to, target);
  for (let n = from; n < to; n++) {
    const at = (n - from) * columns;
    copyRowsIn(view, b, h, n, n + 1, target.subarray(at, at + view.shape[3]));
  }
}

class ArraySink implements Sink {
  readonly access: Access;
  readonly #view: View;
  readonly #loan: Loan;
  readonly #name: string;
  readonly #columns: number;

  constructor(view: View, loan: Loan, name: string) {
    this.access = { dtype: view.dtype, vectors: true };
    this.#view = view;
    this.#loan = loan;
    this.#name = name;
    // A column of its own is not padded: `lse`.
    this.#columns = view.shape[3] === 1 && name === "lse" ? 1 : paddedColumns(view);
  }

  bytes(box: Box): number {
    return Math.max(16, count(box) * this.#columns * bytesPerElement(this.#view.dtype));
  }

  async place(box: Box): Promise<Window> {
    const size = Math.ceil(this.bytes(box) / 16) * 16;
    const buffer = await this.#loan.take(size, roles.storage, this.#name);
    const readBack = await this.#loan.take(size, roles.readBack, `${this.#name} on its way back`);
    const strides = denseStrides(box, this.#columns);
    return { buffer, offset: 0, size, at: 0, strides, readBack };
  }

  settle(): void {}

  collect(box: Box, bytes: ArrayBuffer): void {
    const view = this.#view, columns = this.#columns;
    const rows = view.dtype === "f32" ? new Float32Array(bytes) : new Uint16Array(bytes);
    const height = extent(box.rows);
    let at = 0;
    for (let b = box.batch[0]; b < box.batch[1]; b++) {
      for (let h = box.heads[0]; h < box.heads[1]; h++, at += height * columns) {
        const source = rows.subarray(at, at + height * columns);
        if (columns === view.shape[3]) copyRowsOut(source, view, b, h, ...box.rows);
        else {
          for (let n = 0; n < height; n++) {
            const row = source.subarray(n * columns);
            copyRowsOut(row, view, b, h, box.rows[0] + n, box.rows[0] + n + 1);
          }
        }
      }
    }
  }
}

/** An input by where it is. */
export function sourceOf(view: AnyView, session: Session, loan: Loan, name: string): Source {
  return isOnHost(view)
    ? new ArraySource(view, session, loan, name)
    : new BufferSource(view, session, loan);
}

/** A result by where it is. */
export function sinkOf(view: AnyView, session: Session, loan: Loan, name: string): Sink {
  return isOnHost(view) ? new ArraySink(view, loan, name) : new BufferSource(view, session, loan);
}

export function tensorParameters(
  name: "q" | "k" | "v" | "o" | "bias" | "mask" | "d_out",
  { at, strides }: Window,
): Parameters {
  return {
    [`${name}_at`]: at,
    [`${name}_batch`]: strides.batch,
    [`${name}_head`]: strides.head,
    [`${name}_row`]: strides.row,
    [`${name}_column`]: strides.column,
  };
}
