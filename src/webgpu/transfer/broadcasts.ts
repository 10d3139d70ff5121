/**
 * Broadcasts: where a part of a bias or a mask is on the GPU. A caller's buffer is bound as it is; of
 * an array the elements that it reaches are uploaded as they lie, never expanded.
 *
 * @module
 */

import type { HeldArray } from "../../tensor/arrays.ts";
import type { Broadcast, BroadcastView, MaskView } from "../../tensor/broadcast.ts";
import { bytesPerElement, isGpuBuffer, type StorageType } from "../../tensor/dtype.ts";
import { roles } from "../device/buffers.ts";
import type { Session } from "../device/session.ts";
import type { Loan } from "../device/submission.ts";
import { extent, type Range } from "./regions.ts";
import { emptyWindow, gatherBytes, type Strides, Uploads, type Window } from "./transfer.ts";

/** Part of the scores. */
export interface ScoreBox {
  readonly batch: Range;
  /** Query heads. */
  readonly heads: Range;
  readonly rows: Range;
  readonly keys: Range;
}

/** A bias or a mask. */
export interface ScoreSource {
  readonly dtype: StorageType;
  /** Bytes of the binding of a box. */
  bytes(box: ScoreBox): number;
  place(box: ScoreBox): Promise<Window>;
  /** Told when all that was placed is submitted: it may be overwritten. */
  settle(): void;
}

type ArrayData = Float32Array | Uint8Array | Uint32Array;

/** A bias or a mask in a buffer. */
export interface BufferBroadcast extends Broadcast {
  readonly data: GPUBuffer;
  readonly dtype: StorageType;
}

interface ArrayBroadcast extends Broadcast {
  readonly data: HeldArray<ArrayData>;
  readonly dtype: StorageType;
}

/** Shaders count elements in 32 bits. */
const mostElements = 2 ** 32;

function rangesOf({ batch, heads, rows, keys }: ScoreBox): readonly Range[] {
  return [batch, heads, rows, keys];
}

function isEmpty(box: ScoreBox): boolean {
  return rangesOf(box).some((range) => extent(range) === 0);
}

function wholeOf({ shape }: Broadcast): ScoreBox {
  const [batch, heads, rows, keys] = shape.map((extent) => [0, extent] as const);
  return { batch, heads, rows, keys };
}

/** The first element of a box, and how many there are from there to its last. */
function reachOf({ strides, offset }: Broadcast, box: ScoreBox): { first: number; count: number } {
  let first = offset, count = 1;
  for (const [axis, range] of rangesOf(box).entries()) {
    first += range[0] * strides[axis];
    count += (extent(range) - 1) * strides[axis];
  }
  return { first, count };
}

function elementsPerWord(dtype: StorageType): number {
  return 4 / bytesPerElement(dtype);
}

function bytesOf(count: number, dtype: StorageType): number {
  return Math.ceil(count / elementsPerWord(dtype)) * 4;
}

function stridesOf([batch, head, row, column]: readonly number[]): Strides {
  return { batch, head, row, column };
}

/** Where a box of a buffer is: bindings begin at multiples of `alignment` bytes. */
export function broadcastWindow(
  view: BufferBroadcast,
  box: ScoreBox,
  alignment: number,
): Window {
  const { data: buffer, dtype, strides } = view;
  const { first, count } = reachOf(view, box);
  const unit = alignment / bytesPerElement(dtype);
  const begin = Math.floor(first / unit) * unit;
  const size = bytesOf(first + count - begin, dtype);
  const offset = begin * bytesPerElement(dtype);
  return { buffer, offset, size, at: first - begin, strides: stridesOf(strides) };
}

/** Bytes of a binding, or more than any where a shader cannot count its elements. */
function countable(bytes: number, dtype: StorageType): number {
  return bytes / bytesPerElement(dtype) > mostElements ? Infinity : bytes;
}

class BufferSource implements ScoreSource {
  readonly dtype: StorageType;
  readonly #view: BufferBroadcast;
  readonly #alignment: number;
  readonly #loan: Loan;

  constructor(view: BufferBroadcast, session: Session, loan: Loan) {
    this.dtype = view.dtype;
    this.#view = view;
    this.#alignment = session.gpu.device.limits.minStorageBufferOffsetAlignment;
    this.#loan = loan;
  }

  bytes(box: ScoreBox): number {
    if (isEmpty(box)) return 0;
    return countable(broadcastWindow(this.#view, box, this.#alignment).size, this.dtype);
  }

  async place(box: ScoreBox): Promise<Window> {
    if (isEmpty(box)) return await emptyWindow(this.#loan);
    return broadcastWindow(this.#view, box, this.#alignment);
  }

  settle(): void {}
}

class ArraySource implements ScoreSource {
  readonly dtype: StorageType;
  readonly #view: ArrayBroadcast;
  readonly #session: Session;
  readonly #loan: Loan;
  readonly #name: string;
  readonly #uploads: Uploads<BufferBroadcast>;
  /** Whether all that the array is reached of is uploaded at once. */
  readonly #isWhole: boolean;

  constructor(view: ArrayBroadcast, session: Session, loan: Loan, name: string) {
    this.dtype = view.dtype;
    this.#view = view;
    this.#session = session;
    this.#loan = loan;
    this.#name = name;
    this.#uploads = new Uploads(session, loan);
    const whole = wholeOf(view), { wholeBytes, bindingBytes } = session.bounds;
    // Not where a box of it might be no binding: the heads of a group lie far apart.
    this.#isWhole = isEmpty(whole) ||
      bytesOf(reachOf(view, whole).count, view.dtype) <= Math.min(wholeBytes, bindingBytes);
  }

  bytes(box: ScoreBox): number {
    if (isEmpty(box)) return 0;
    const { count } = this.#isWhole ? reachOf(this.#view, box) : compact(this.#view, box);
    // The binding may have to begin before the box.
    const before = this.#isWhole ? 256 : 0;
    return countable(bytesOf(count, this.dtype) + before, this.dtype);
  }

  async place(box: ScoreBox): Promise<Window> {
    if (isEmpty(box)) return await emptyWindow(this.#loan);
    const { minStorageBufferOffsetAlignment } = this.#session.gpu.device.limits;
    if (!this.#isWhole) {
      const view = await this.#uploads.of(box, () => this.#upload(compact(this.#view, box)));
      return broadcastWindow(view, wholeOf(view), minStorageBufferOffsetAlignment);
    }
    const whole = reachOf(this.#view, wholeOf(this.#view));
    const view = await this.#uploads.of(
      {},
      () => this.#upload({ ...this.#view, offset: 0, firsts: [whole.first], ...whole }),
    );
    return broadcastWindow(view, box, minStorageBufferOffsetAlignment);
  }

  async #upload(pieces: Pieces): Promise<BufferBroadcast> {
    const { firsts, count, shape, strides, offset } = pieces;
    const size = bytesOf(count, this.dtype);
    const data = await this.#loan.take(size, roles.storage, this.#name);
    const each = size / firsts.length, { queue } = this.#session.gpu.device;
    this.#loan.attempt(() => {
      for (const [index, first] of firsts.entries()) {
        upload(queue, data, index * each, this.#view, first, each / 4);
      }
    });
    return { data, dtype: this.dtype, shape, strides, offset };
  }

  settle(): void {
    if (!this.#isWhole) this.#uploads.settle();
  }
}

/** What is uploaded: so many elements in all, as many from each of the firsts on. */
interface Pieces extends Broadcast {
  readonly firsts: readonly number[];
  readonly count: number;
}

/** A box by itself: heads apart from each other come side by side, each beginning with a word. */
function compact(view: Broadcast, box: ScoreBox): Pieces {
  const { strides } = view, { batch, heads } = box;
  const { count: reached } = reachOf(view, { ...box, batch: [0, 1], heads: [0, 1] });
  const head = Math.ceil(reached / 32) * 32;
  // What is the same for all comes once.
  const batches = strides[0] === 0 ? 1 : extent(batch),
    perBatch = strides[1] === 0 ? 1 : extent(heads);
  const { first } = reachOf(view, box);
  const firsts = Array.from(
    { length: batches * perBatch },
    (_, index) => first + Math.floor(index / perBatch) * strides[0] + index % perBatch * strides[1],
  );
  const [b, h, n, j] = rangesOf(box).map(extent);
  return {
    shape: [b, h, n, j],
    strides: [
      batches === 1 ? 0 : perBatch * head,
      perBatch === 1 ? 0 : head,
      strides[2],
      strides[3],
    ],
    offset: 0,
    firsts,
    count: firsts.length * head,
  };
}

/** Writes the elements from `first` on into so many words of a buffer. */
function upload(
  queue: GPUQueue,
  buffer: GPUBuffer,
  target: number,
  { data, dtype }: ArrayBroadcast,
  first: number,
  words: number,
): void {
  const elements = data.now();
  const gathered = new Uint32Array(Math.min(words, gatherBytes / 4));
  for (let from = 0; from < words; from += gathered.length) {
    const part = gathered.subarray(0, Math.min(gathered.length, words - from));
    readWords(elements, dtype, first + from * elementsPerWord(dtype), part);
    queue.writeBuffer(buffer, target + from * 4, part);
  }
}

/** Copies elements as they lie, to where a word begins. What is past the array's end is left. */
export function readWords(
  data: ArrayData,
  dtype: StorageType,
  first: number,
  target: Uint32Array<ArrayBuffer>,
): void {
  if (dtype === "bit") return readBits(data, first, target);
  const { buffer, byteOffset, byteLength } = target;
  const to = data instanceof Float32Array
    ? new Float32Array(buffer, byteOffset, target.length)
    : new Uint8Array(buffer, byteOffset, byteLength);
  to.set(data.subarray(first, first + to.length));
}

function readBits(data: ArrayData, first: number, target: Uint32Array): void {
  const from = Math.floor(first / 32), shift = first % 32;
  if (shift === 0) return target.set(data.subarray(from, from + target.length));
  for (let word = 0; word < target.length; word++) {
    target[word] = data[from + word] >>> shift | data[from + word + 1] << 32 - shift;
  }
}

/** A bias or a mask by where it is. */
export function scoreSourceOf(
  view: BroadcastView | MaskView,
  session: Session,
  loan: Loan,
  name: string,
): ScoreSource {
  return isGpuBuffer(view.data)
    ? new BufferSource({ ...view, data: view.data }, session, loan)
    : new ArraySource(
      { ...view, data: view.data as HeldArray<ArrayData> },
      ...[session, loan, name] as const,
    );
}
