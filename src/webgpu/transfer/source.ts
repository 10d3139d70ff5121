/**
 * Sources: inputs of shaders. A caller's buffer is bound as it is; an array is uploaded whole, or part by
 * part where a buffer cannot hold it.
 *
 * @module
 */

import { bytesPerElement, isGpuBuffer } from "../../tensor/dtype.ts";
import { type AnyView, type BroadcastView, isOnHost, type MaskView } from "../../tensor/tensor.ts";
import { roles } from "../device/buffers.ts";
import type { Loan } from "../device/submission.ts";
import type { Access } from "../shader/access.ts";
import {
  type Bound,
  boundOf,
  type Box,
  type Buffered,
  emptyBound,
  isEmpty,
  reachOf,
  wholeOf,
} from "./box.ts";
import { compactUpload, type ScoreArray, type Upload, uploadOf, wholeUpload } from "./upload.ts";

/** An input. */
export interface Source {
  /** Bytes of the binding of a box. */
  bytes(box: Box): number;
  place(box: Box): Promise<Bound>;
  /** Told when all that was placed is submitted: it may be overwritten. */
  release(): void;
}

/** Whether a tensor can be read and written in vectors of four neighbours. */
function isVectored({ shape, strides, offset }: AnyView): boolean {
  const whole = (stride: number, axis: number) => shape[axis] <= 1 || stride % 4 === 0;
  return shape[3] % 4 === 0 && strides[3] === 1 && offset % 4 === 0 &&
    strides.slice(0, 3).every(whole);
}

/** How shaders read a tensor, or write it; rows of arrays are padded to whole vectors. */
export function accessOf(view: AnyView): Access {
  return { dtype: view.dtype, vectors: isOnHost(view) || isVectored(view) };
}

/** Shaders count elements in 32 bits. */
const mostElements = 2 ** 32;

/** Bytes of a binding, or more than any where a shader cannot count its elements. */
function countable(bytes: number, { dtype }: Pick<Buffered, "dtype">): number {
  return bytes / bytesPerElement(dtype) > mostElements ? Infinity : bytes;
}

/** What is in a buffer. */
export class BufferSource implements Source {
  readonly #view: Buffered;
  readonly #loan: Loan;

  constructor(view: Buffered, loan: Loan) {
    this.#view = view;
    this.#loan = loan;
  }

  bytes(box: Box): number {
    return isEmpty(box) ? 0 : countable(this.#boundOf(box).size, this.#view);
  }

  async place(box: Box): Promise<Bound> {
    return isEmpty(box) ? await emptyBound(this.#loan) : this.#boundOf(box);
  }

  release(): void {}

  #boundOf(box: Box): Bound {
    return boundOf(this.#view, box, this.#loan.session.alignment);
  }
}

/** What is uploaded of an array. */
class ArraySource implements Source {
  readonly #loan: Loan;
  readonly #name: string;
  /** All of it, where it is uploaded at once. */
  readonly #whole: Upload | null;
  readonly #uploadOf: (box: Box) => Upload;
  /** What the call has uploaded, by its boxes. */
  readonly #known = new Map<string, GPUBuffer>();

  constructor(
    whole: Upload,
    mostBytes: number,
    uploadOf: (box: Box) => Upload,
    loan: Loan,
    name: string,
  ) {
    this.#whole = whole.bytes <= mostBytes ? whole : null;
    this.#uploadOf = uploadOf;
    this.#loan = loan;
    this.#name = name;
  }

  bytes(box: Box): number {
    if (isEmpty(box)) return 0;
    const upload = this.#whole ?? this.#uploadOf(box);
    if (this.#whole === null) return countable(upload.bytes, upload);
    const words = Math.ceil(reachOf(upload, box).count * bytesPerElement(upload.dtype) / 4);
    // The binding may have to begin before the box.
    return countable(words * 4 + 256, upload);
  }

  async place(box: Box): Promise<Bound> {
    const { alignment } = this.#loan.session;
    if (isEmpty(box)) return await emptyBound(this.#loan);
    const upload = this.#whole ?? this.#uploadOf(box);
    const key = this.#whole ? "" : JSON.stringify(box);
    const data = this.#known.get(key) ?? await this.#write(upload);
    this.#known.set(key, data);
    return boundOf({ ...upload, data }, this.#whole ? box : wholeOf(upload), alignment);
  }

  async #write(upload: Upload): Promise<GPUBuffer> {
    const buffer = await this.#loan.take(upload.bytes, roles.storage, this.#name);
    const { queue } = this.#loan.session.gpu.device;
    this.#loan.attempt(() => upload.write(queue, buffer));
    return buffer;
  }

  /** Keeps as many bytes as a whole array may have: the next region often reads the same keys. */
  release(): void {
    if (this.#whole) return;
    const buffers = [...this.#known.values()];
    const bytes = buffers.reduce((sum, { size }) => sum + size, 0);
    if (bytes <= this.#loan.session.bounds.wholeBytes) return;
    for (const buffer of buffers) this.#loan.give(buffer);
    this.#known.clear();
  }
}

/** The source for a tensor: an array or a buffer. */
export function sourceOf(view: AnyView, loan: Loan, name: string): Source {
  if (!isOnHost(view)) return new BufferSource(view, loan);
  const whole = uploadOf(view, wholeOf(view)), { wholeBytes } = loan.session.bounds;
  return new ArraySource(whole, wholeBytes, (box) => uploadOf(view, box), loan, name);
}

/** The source for a bias or a mask. */
export function scoreSourceOf(view: BroadcastView | MaskView, loan: Loan, name: string): Source {
  if (isGpuBuffer(view.data)) return new BufferSource({ ...view, data: view.data }, loan);
  const array = view as ScoreArray, { wholeBytes, bindingBytes } = loan.session.bounds;
  // Not where a box of it might be no binding: the heads of a group lie far apart.
  const most = Math.min(wholeBytes, bindingBytes);
  return new ArraySource(wholeUpload(array), most, (box) => compactUpload(array, box), loan, name);
}
