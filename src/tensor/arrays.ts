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

/** By kind, and nothing else; runtimes before Node 24 have no `Float16Array`. */
const makers: Readonly<Record<string, Maker | undefined>> = /* @__PURE__ */ Object.assign(
  Object.create(null),
  { Float32Array, Uint16Array, Uint8Array, Uint32Array },
  typeof Float16Array === "undefined" ? {} : { Float16Array },
);

/** What every typed array has by itself, under a name that objects may have written over. */
function intrinsic<T>(name: PropertyKey): (array: unknown) => T {
  const { get } = Object.getOwnPropertyDescriptor(
    Object.getPrototypeOf(Uint8Array.prototype),
    name,
  )!;
  return (array) => get!.call(array);
}

/** The kind of any typed array; `undefined` for anything else. */
export const kindOfArray: (value: unknown) => string | undefined = /* @__PURE__ */ intrinsic(
  Symbol.toStringTag,
);
const bufferOf = /* @__PURE__ */ intrinsic<ArrayBufferLike>("buffer");
const byteOffsetOf = /* @__PURE__ */ intrinsic<number>("byteOffset");
const lengthOf = /* @__PURE__ */ intrinsic<number>("length");

/**
 * Whether a buffer is shared, of whatever realm: by what throws for those that are. What throws for all others takes
 * microseconds of each call.
 */
export function isShared(buffer: ArrayBufferLike): boolean {
  try {
    const { get } = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, "byteLength")!;
    return get!.call(buffer) === undefined;
  } catch {
    return true;
  }
}

/** Kind of an array by what it is and not by its prototype; `undefined` for anything else. */
export function arrayKind(value: unknown): ArrayKind | undefined {
  const kind = kindOfArray(value);
  return kind !== undefined && makers[kind] !== undefined ? kind as ArrayKind : undefined;
}

/** Length of an array, typed or not, by what it is by itself; `undefined` for anything else. */
export function lengthOfArray(value: unknown): number | undefined {
  if (Array.isArray(value)) return value.length;
  return kindOfArray(value) === undefined ? undefined : lengthOf(value);
}

/** An element of a list; whole numbers of 64 bits are as all others. */
export function elementOf(list: unknown, index: number): unknown {
  const value = (list as ArrayLike<unknown>)[index];
  return typeof value === "bigint" ? Number(value) : value;
}

/** What some script has given to all objects, by name. */
export const everyones: Readonly<Record<string, unknown>> = Object.prototype as never;

/**
 * A value that was read of an object, where it is its own or its class's; `inherited` is what all objects
 * have under that name. That is nobody's: `Object.prototype.offset` is the offset of no tensor.
 */
export function ownOf<T>(
  object: object,
  name: string,
  value: T,
  inherited: unknown,
): T | undefined {
  const isOwn = value === undefined || value !== inherited || Object.hasOwn(object, name);
  return isOwn ? value : undefined;
}

/** What an object has under a name, by itself or its class. */
export function readOf<T extends object, Name extends keyof T & string>(
  object: T,
  name: Name,
): T[Name] | undefined {
  const value = object[name];
  return value === undefined ? value : ownOf(object, name, value, everyones[name]);
}

/** Bytes one after the other. */
export function joinBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** A new array of zeros. */
export function zeros(kind: ArrayKind, length: number): PlainArray {
  return new makers[kind]!(length);
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
  readonly byteLength: number;
  /** Whose memory it is in. */
  readonly lender: Lender | undefined;
  /** What was lent to the caller that it lies in. */
  readonly lent: Lent | undefined;
  readonly #Maker: Maker;
  readonly #elementBytes: number;
  #array: A | undefined;

  /** Elements of 16 bits are held as these bits. */
  constructor(array: A | Float16Array) {
    const kind = arrayKind(array)!;
    const Maker = makers[kind === "Float16Array" ? "Uint16Array" : kind]!;
    this.kind = kind;
    this.buffer = bufferOf(array);
    this.byteOffset = byteOffsetOf(array);
    this.length = lengthOf(array);
    this.#Maker = Maker;
    this.#elementBytes = kind === "Uint8Array" ? 1 : Maker === Uint16Array ? 2 : 4;
    this.byteLength = this.length * this.#elementBytes;
    this.lender = lenderOf(this.buffer);
    this.lent = this.lender && this.lender.lentAt(this.byteOffset, this.byteLength);
  }

  /** Whether a value is one. */
  static is(value: unknown): value is HeldArray {
    return typeof value === "object" && value !== null && #array in value;
  }

  /**
   * The elements, in a plain array that is not to be kept over a point where memory can grow.
   *
   * @param whose How a message calls it.
   * @throws {TypeError} Where they are no more.
   */
  now(whose?: string): A {
    const buffer = this.#bufferNow(whose);
    if (this.#array === undefined || this.#array.buffer !== buffer) {
      this.#array = this.#over(buffer, 0, this.length);
    }
    return this.#array;
  }

  /** The same of some elements. */
  part(from: number, to: number, whose?: string): A {
    return this.#over(this.#bufferNow(whose), from, to - from);
  }

  #bufferNow(whose = "an input's"): ArrayBufferLike {
    const buffer = this.lender === undefined ? this.buffer : this.lender.buffer;
    if (this.byteOffset + this.byteLength <= buffer.byteLength) return buffer;
    const what = buffer.byteLength === 0 ? "detached" : "made smaller";
    throw new TypeError(`Cannot attend: ${whose} buffer was ${what} while the call ran`);
  }

  #over(buffer: ArrayBufferLike, from: number, length: number): A {
    // What was detached before the call is empty, and nothing can be made over it.
    if (length === 0) return new this.#Maker(0) as A;
    return new this.#Maker(buffer, this.byteOffset + from * this.#elementBytes, length) as A;
  }
}
