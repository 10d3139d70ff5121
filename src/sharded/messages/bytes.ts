/**
 * Numbers, texts and arrays as bytes, little-endian, each at a multiple of four; and read again, with nothing
 * believed of what the bytes say.
 *
 * @module
 */

import type { DType, Elements } from "../../tensor/dtype.ts";

/** What bytes say cannot be. */
export class MalformedError extends RangeError {}

/** Element types by their numbers in messages. */
const elementTypes = ["f32", "f16", "bf16"] as const satisfies readonly DType[];

/** Elements of one storage. */
export interface Block {
  readonly dtype: DType;
  readonly data: Elements;
}

const padded = (bytes: number) => Math.ceil(bytes / 4) * 4;

/** Bytes of a block in a message. */
export function blockBytes(dtype: DType, elements: number): number {
  return 8 + padded(elements * (dtype === "f32" ? 4 : 2));
}

/** Writes a message. */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  /** @param room Bytes that are expected. */
  constructor(room = 256) {
    this.#bytes = new Uint8Array(padded(room));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** What was written. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  word(value: number): void {
    const at = this.#take(4); // It may be another view now.
    this.#view.setUint32(at, value, true);
  }

  words(values: ArrayLike<number>): void {
    this.word(values.length);
    for (let at = 0; at < values.length; at++) this.word(values[at]);
  }

  /** A number of 64 bits. */
  float(value: number): void {
    const at = this.#take(8);
    this.#view.setFloat64(at, value, true);
  }

  text(value: string): void {
    this.raw(new TextEncoder().encode(value));
  }

  /** Bytes with their number. */
  raw(value: Uint8Array): void {
    this.word(value.length);
    const at = this.#take(padded(value.length));
    this.#bytes.set(value, at);
  }

  block({ dtype, data }: Block): void {
    this.word(elementTypes.indexOf(dtype));
    const { buffer, byteOffset, byteLength } = data;
    this.raw(new Uint8Array(buffer, byteOffset, byteLength));
  }

  /** Makes room. @returns Where it begins. */
  #take(count: number): number {
    const at = this.#length, needed = at + count;
    if (needed > this.#bytes.length) {
      const bytes = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
      bytes.set(this.#bytes);
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    }
    this.#length = needed;
    return at;
  }
}

/** Reads a message: bytes that begin at a multiple of four in their buffer, and whose number is one. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  /** @param at The first byte that is read. */
  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#at = at;
  }

  /** Bytes that were not read yet. */
  get left(): number {
    return this.#bytes.length - this.#at;
  }

  word(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A word below some number. */
  below(most: number): number {
    const word = this.word();
    if (word < most) return word;
    throw new MalformedError(`${word} is not below ${most}`);
  }

  /** A number of things that each take so many bytes at least. */
  count(bytesEach = 4): number {
    return this.below(Math.floor((this.left - 4) / bytesEach) + 1);
  }

  words(): number[] {
    return Array.from({ length: this.count() }, () => this.word());
  }

  float(): number {
    return this.#view.getFloat64(this.#take(8), true);
  }

  text(): string {
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(this.raw());
    } catch {
      throw new MalformedError("a text is no UTF-8");
    }
  }

  raw(): Uint8Array {
    const length = this.word(), at = this.#take(padded(length));
    return this.#bytes.subarray(at, at + length);
  }

  block(): Block {
    const dtype = elementTypes[this.below(elementTypes.length)];
    const { buffer, byteOffset, length } = this.raw(), each = dtype === "f32" ? 4 : 2;
    if (length % each !== 0) throw new MalformedError(`${length} bytes are no elements of ${each}`);
    const Kind = dtype === "f32" ? Float32Array : Uint16Array;
    return { dtype, data: new Kind(buffer as ArrayBuffer, byteOffset, length / each) };
  }

  /** Checks that there is nothing more. */
  end(): void {
    if (this.left !== 0) throw new MalformedError(`${this.left} bytes too many`);
  }

  #take(count: number): number {
    const at = this.#at;
    if (count > this.left) throw new MalformedError(`${count} bytes where ${this.left} are left`);
    this.#at += count;
    return at;
  }
}
