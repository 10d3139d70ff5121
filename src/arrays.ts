/**
 * Arrays as they are by themselves, whatever was written onto the objects or their prototypes, and
 * as they were when a call read them.
 *
 * @module
 */

import { type Lender, lenderOf, type Lent } from "./lending.ts";

/** Arrays that calls read and write. */
export type PlainArray = Float32Array | Float16Array | Uint16Array | Uint8Array | Uint32Array;

/** Their kinds. */
export type ArrayKind =
  | "Float32Array"
  | "Float16Array"
  | "Uint16Array"
  | "Uint8Array"
  | "Uint32Array";

type Maker = new (buffer: ArrayBufferLike | number, at?: number, length?: number) => PlainArray;

/** By kind; runtimes before Node 24 have no `Float16Array`. */
const makers = {
  ...{ Float32Array, Uint16Array, Uint8Array, Uint32Array },
  ...(typeof Float16Array === "undefined" ? {} : { Float16Array }),
} as unknown as Readonly<Record<ArrayKind, Maker>>;

/** What every typed array has by itself, under a name that objects may have written over. */
function intrinsic<T>(name: PropertyKey): (array: unknown) => T {
  const { get } = Object.getOwnPropertyDescriptor(
    Object.getPrototypeOf(Uint8Array.prototype),
    name,
  )!;
  return (array) => get!.call(array);
}

const kindOfArray = intrinsic<string | undefined>(Symbol.toStringTag);
const bufferOf = intrinsic<ArrayBufferLike>("buffer");
const byteOffsetOf = intrinsic<number>("byteOffset");
const lengthOf = intrinsic<number>("length");

/** Kind of an array by what it is and not by its prototype; `undefined` for anything else. */
export function arrayKind(value: unknown): ArrayKind | undefined {
  const kind = kindOfArray(value);
  return kind !== undefined && Object.hasOwn(makers, kind) ? kind as ArrayKind : undefined;
}

/** A new array of zeros. */
export function zeros(kind: ArrayKind, length: number): PlainArray {
  return new makers[kind](length);
}

/**
 * An array as it was when it was read. In an engine's memory it stays the same bytes when that
 * grows, which detaches every array over it.
 */
export class HeldArray<A extends PlainArray = PlainArray> {
  readonly kind: ArrayKind;
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly length: number;
  /** Whose memory it is in. */
  readonly lender: Lender | undefined;
  /** What was lent to the caller that it lies in. */
  readonly lent: Lent | undefined;
  readonly #Maker: Maker;
  #array: A;

  /** Elements of 16 bits are held as these bits. */
  constructor(array: A | Float16Array) {
    this.kind = arrayKind(array)!;
    this.buffer = bufferOf(array);
    this.byteOffset = byteOffsetOf(array);
    this.length = lengthOf(array);
    this.lender = lenderOf(this.buffer);
    this.#Maker = makers[this.kind === "Float16Array" ? "Uint16Array" : this.kind];
    this.#array = this.#over(this.buffer);
    this.lent = this.lender?.lentAt(this.byteOffset, this.#array.byteLength);
  }

  /** Whether a value is one. */
  static is(value: unknown): value is HeldArray {
    return typeof value === "object" && value !== null && #array in value;
  }

  get byteLength(): number {
    return this.length * this.#Maker.prototype.BYTES_PER_ELEMENT;
  }

  /**
   * The elements, in a plain array that is not to be kept over a point where memory can grow.
   *
   * @param whose How a message calls it.
   * @throws {TypeError} Where they are no more.
   */
  now(whose = "an input's"): A {
    const buffer = this.lender?.buffer ?? this.buffer;
    if (this.#array.buffer !== buffer) this.#array = this.#over(buffer);
    if (this.#array.length === this.length) return this.#array;
    const what = buffer.byteLength === 0 ? "detached" : "made smaller";
    throw new TypeError(`Cannot attend: ${whose} buffer was ${what} while the call ran`);
  }

  #over(buffer: ArrayBufferLike): A {
    // What was detached before the call has no place, and nothing in it.
    if (this.length === 0) return new this.#Maker(0) as A;
    return new this.#Maker(buffer, this.byteOffset, this.length) as A;
  }
}
