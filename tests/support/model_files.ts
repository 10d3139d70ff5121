/**
 * Writes files of weights, also wrong ones: what a head says is written as it is.
 *
 * @module
 */

import { Buffer } from "node:buffer";

/** A safetensors file of a head, as JSON or as text, and numbers. */
export function safetensors(head: unknown, data = new Uint8Array(0)): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(typeof head === "string" ? head : JSON.stringify(head));
  const file = new Uint8Array(8 + text.length + data.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  file.set(data, 8 + text.length);
  return file;
}

/** Bytes that are numbered. */
export function numbered(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, at) => at % 251);
}

/** Appends numbers and texts to a file. */
class Bytes {
  readonly #parts: Uint8Array[] = [];
  length = 0;

  add(bytes: Uint8Array): this {
    this.#parts.push(bytes);
    this.length += bytes.length;
    return this;
  }

  u32(value: number): this {
    return this.add(new Uint8Array(Uint32Array.of(value).buffer));
  }

  u64(value: number | bigint): this {
    return this.add(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }

  text(value: string): this {
    const bytes = new TextEncoder().encode(value);
    return this.u64(bytes.length).add(bytes);
  }

  all(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(Buffer.concat(this.#parts));
  }
}

/** A value of a GGUF file, by the number of its kind: its bytes are written as they are. */
export interface GgufValueBytes {
  readonly name: string;
  readonly kind: number;
  readonly bytes: Uint8Array;
}

/** A text as a value. */
export function ggufText(name: string, value: string): GgufValueBytes {
  return { name, kind: 8, bytes: new Bytes().text(value).all() };
}

/** A whole number as a value. */
export function ggufU32(name: string, value: number): GgufValueBytes {
  return { name, kind: 4, bytes: new Bytes().u32(value).all() };
}

/** A list as a value; `count` is what it says. */
export function ggufList(
  name: string,
  kind: number,
  elements: readonly Uint8Array[],
  count: number | bigint = elements.length,
): GgufValueBytes {
  const bytes = new Bytes().u32(kind).u64(count);
  for (const one of elements) bytes.add(one);
  return { name, kind: 9, bytes: bytes.all() };
}

/** A list of texts as a value. */
export function ggufTexts(name: string, texts: readonly string[]): GgufValueBytes {
  return ggufList(name, 8, texts.map((text) => new Bytes().text(text).all()));
}

/** A list of floats as a value. */
export function ggufFloats(name: string, numbers: readonly number[]): GgufValueBytes {
  return ggufList(name, 6, numbers.map((one) => new Uint8Array(Float32Array.of(one).buffer)));
}

/** A list of whole numbers as a value. */
export function ggufInts(name: string, numbers: readonly number[]): GgufValueBytes {
  return ggufList(name, 5, numbers.map((one) => new Uint8Array(Int32Array.of(one).buffer)));
}

/** A tensor of a GGUF file. */
export interface GgufTensor {
  readonly name: string;
  /** The axis of neighbours first, as the file has it. */
  readonly dims: readonly (number | bigint)[];
  readonly type: number;
  readonly offset: number | bigint;
}

/** What a GGUF file says of itself. */
export interface GgufParts {
  readonly magic?: string;
  readonly version?: number;
  readonly values?: readonly GgufValueBytes[];
  readonly tensors?: readonly GgufTensor[];
  readonly data?: Uint8Array;
  /** Counts where they are lies. */
  readonly valueCount?: number | bigint;
  readonly tensorCount?: number | bigint;
  /** What the beginning of the numbers is rounded up to. */
  readonly alignment?: number;
}

/** A GGUF file. */
export function gguf(parts: GgufParts): Uint8Array<ArrayBuffer> {
  const { magic = "GGUF", version = 3, values = [], tensors = [], alignment = 32 } = parts;
  const file = new Bytes().add(new TextEncoder().encode(magic)).u32(version)
    .u64(parts.tensorCount ?? tensors.length).u64(parts.valueCount ?? values.length);
  for (const { name, kind, bytes } of values) file.text(name).u32(kind).add(bytes);
  for (const { name, dims, type, offset } of tensors) {
    file.text(name).u32(dims.length);
    for (const dim of dims) file.u64(dim);
    file.u32(type).u64(offset);
  }
  const padding = Math.ceil(file.length / alignment) * alignment - file.length;
  return file.add(new Uint8Array(padding)).add(parts.data ?? new Uint8Array(0)).all();
}

/** A file behind a function that reads ranges, and what it was asked for. */
export function rangesOf(file: Uint8Array) {
  const asked: [offset: number, length: number][] = [];
  const read = (offset: number, length: number) => {
    asked.push([offset, length]);
    return Promise.resolve(file.slice(offset, offset + length));
  };
  return { read, asked };
}
