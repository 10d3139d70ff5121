/**
 * Reads numbers and texts one after the other from the beginning of a file, of which only as much is
 * fetched as was needed.
 *
 * @module
 */

import { type ByteSource, cannot } from "./bytes.ts";

/** Bytes of a file's head at most: a vocabulary of a million pieces has some 30 MB. */
const mostHead = 2 ** 28;

/** Bytes that are fetched at first. */
const firstBytes = 2 ** 16;

/** Thrown where what was fetched ends, and the head does not. */
const needsMore = Symbol("needs more");

/** A place in a file's head. */
export class Cursor {
  /** Bytes from the beginning of the file. */
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** Where the head must have ended. */
  readonly #end: number;
  readonly #text = new TextDecoder("utf-8", { ignoreBOM: true });

  constructor(bytes: Uint8Array, end: number) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#end = end;
  }

  /** Checks that there are so many bytes more, of what is told, before anything is made for them. */
  need(bytes: number, what: string): void {
    const end = this.at + bytes;
    if (!(end <= this.#end)) {
      throw new RangeError(
        `${cannot}: ${what} would end at byte ${end}, and the file${
          this.#end === mostHead ? "'s head may have" : " has"
        } ${this.#end}: it is cut off, or lies`,
      );
    }
    if (end > this.#bytes.length) throw needsMore;
  }

  #take(bytes: number, what: string): number {
    this.need(bytes, what);
    const at = this.at;
    this.at += bytes;
    return at;
  }

  u8(what: string): number {
    return this.#view.getUint8(this.#take(1, what));
  }

  i8(what: string): number {
    return this.#view.getInt8(this.#take(1, what));
  }

  u16(what: string): number {
    return this.#view.getUint16(this.#take(2, what), true);
  }

  i16(what: string): number {
    return this.#view.getInt16(this.#take(2, what), true);
  }

  u32(what: string): number {
    return this.#view.getUint32(this.#take(4, what), true);
  }

  i32(what: string): number {
    return this.#view.getInt32(this.#take(4, what), true);
  }

  f32(what: string): number {
    return this.#view.getFloat32(this.#take(4, what), true);
  }

  f64(what: string): number {
    return this.#view.getFloat64(this.#take(8, what), true);
  }

  /** The nearest number, which is exact up to 2^53. */
  u64(what: string): number {
    return Number(this.#view.getBigUint64(this.#take(8, what), true));
  }

  /** The nearest number, which is exact up to 2^53. */
  i64(what: string): number {
    return Number(this.#view.getBigInt64(this.#take(8, what), true));
  }

  /** Bytes as they lie in the file. */
  bytes(length: number, what: string): Uint8Array {
    const at = this.#take(length, what);
    return this.#bytes.subarray(at, at + length);
  }

  /** A text whose bytes are told; what is no UTF-8 becomes U+FFFD. */
  text(length: number, what: string): string {
    return this.#text.decode(this.bytes(length, what));
  }
}

/**
 * Reads a file's head. What reads it begins anew where more of the file is needed, so that it must only read.
 */
export async function readHead<T>(source: ByteSource, read: (cursor: Cursor) => T): Promise<T> {
  let end = Math.min(source.size ?? mostHead, mostHead), wanted = Math.min(end, firstBytes);
  for (;;) {
    const bytes = await source.upTo(0, wanted);
    // A file that ends before tells how long it is.
    if (bytes.length < wanted) end = bytes.length;
    try {
      return read(new Cursor(bytes, end));
    } catch (thrown) {
      if (thrown !== needsMore) throw thrown;
      wanted = Math.min(end, 4 * wanted); // What the head says of itself may be a lie.
    }
  }
}
