/**
 * The safetensors file format: 8 bytes little-endian header length, a JSON header that names each
 * tensor's dtype, shape and byte range, then the bytes of all tensors without a gap.
 *
 * Nothing in a file is trusted: lengths, ranges and shapes are checked before a byte is read by
 * them, so a truncated or damaged file is an error that names the tensor, never wrong numbers.
 *
 * @module
 */

import { InputError } from "./error.ts";
import { fromBfloat16, fromFloat16 } from "./half.ts";

/** Element types that are read, and how an element is read from little-endian bytes. */
const elements = {
  F32: { size: 4, read: (view: DataView, at: number): number => view.getFloat32(at, true) },
  F16: {
    size: 2,
    read: (view: DataView, at: number): number => fromFloat16(view.getUint16(at, true)),
  },
  BF16: {
    size: 2,
    read: (view: DataView, at: number): number => fromBfloat16(view.getUint16(at, true)),
  },
} as const;

/** Element types that are read. */
export type StoredType = keyof typeof elements;

/** One tensor of a file, not yet converted. */
export interface StoredTensor {
  /** How its elements are stored. */
  readonly dtype: StoredType;
  /** Extent of each axis, last axis fastest. */
  readonly shape: readonly number[];
  /** The elements: a view of the file's bytes. */
  readonly bytes: Uint8Array;
}

/** A tensor's place in the data part of the file, in bytes. */
interface Range {
  readonly name: string;
  readonly begin: number;
  readonly end: number;
}

const LENGTH_BYTES = 8;

/**
 * Reads the tensors of a safetensors file.
 *
 * @param file The whole file.
 * @param source What messages call the file: its path.
 * @returns Each tensor by its name, in the order of the header. Their bytes are views of `file`.
 * @throws {InputError} When the file is not one whole, well-formed safetensors file.
 */
export function parseSafetensors(file: Uint8Array, source: string): Map<string, StoredTensor> {
  const start = LENGTH_BYTES + headerLength(file, source);
  const header = parseHeader(file.subarray(LENGTH_BYTES, start), source);
  const data = file.subarray(start);

  const tensors = new Map<string, StoredTensor>();
  const ranges: Range[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, begin, end } = parseEntry(name, entry, source);
    tensors.set(name, { dtype, shape, bytes: data.subarray(begin, end) });
    ranges.push({ name, begin, end });
  }
  checkRanges(ranges, data.length, source);
  return tensors;
}

/**
 * Converts a tensor's elements.
 *
 * @param tensor A tensor of `parseSafetensors()`.
 * @returns Its elements as f32, last axis fastest; exact for every dtype that is read.
 */
export function toFloat32({ dtype, bytes }: StoredTensor): Float32Array {
  const { size, read } = elements[dtype];
  const { buffer, byteOffset, byteLength } = bytes, length = byteLength / size;
  // Where the runtime knows such numbers, it takes half the time.
  if (dtype === "F16" && byteOffset % size === 0 && "Float16Array" in globalThis) {
    return new Float32Array(new Float16Array(buffer, byteOffset, length));
  }
  const view = new DataView(buffer, byteOffset, byteLength);
  const values = new Float32Array(length);
  for (let i = 0; i < length; i++) values[i] = read(view, i * size);
  return values;
}

function fail(source: string, reason: string): never {
  throw new InputError(`Cannot read ${source}: ${reason}`);
}

function headerLength(file: Uint8Array, source: string): number {
  if (file.length < LENGTH_BYTES) {
    fail(
      source,
      `a safetensors file has at least ${LENGTH_BYTES} bytes, this one has ${file.length}`,
    );
  }
  const view = new DataView(file.buffer, file.byteOffset, LENGTH_BYTES);
  const length = view.getBigUint64(0, true);
  const room = file.length - LENGTH_BYTES;
  if (length > BigInt(room)) {
    fail(
      source,
      `its header is said to have ${length} bytes, but only ${room} follow; ` +
        "the file is truncated or not in the safetensors format",
    );
  }
  return Number(length);
}

function parseHeader(bytes: Uint8Array, source: string): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    fail(source, "its header is not JSON; the file is damaged or not in the safetensors format");
  }
  if (!isRecord(header)) fail(source, "its header must be a JSON object of tensors");
  return header;
}

function parseEntry(
  name: string,
  entry: unknown,
  source: string,
): { dtype: StoredType; shape: number[]; begin: number; end: number } {
  if (!isRecord(entry)) fail(source, `tensor \`${name}\` must be described by a JSON object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isStoredType(dtype)) {
    const known = Object.keys(elements).join(", ");
    fail(source, `tensor \`${name}\` has dtype ${JSON.stringify(dtype)}, expected one of ${known}`);
  }
  if (!isCounts(shape)) fail(source, `tensor \`${name}\` must have a shape of whole numbers >= 0`);
  if (!isCounts(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    fail(source, `tensor \`${name}\` must have data_offsets [begin, end] with begin <= end`);
  }
  const [begin, end] = offsets;
  checkSize(name, dtype, shape, end - begin, source);
  return { dtype, shape, begin, end };
}

function checkSize(
  name: string,
  dtype: StoredType,
  shape: readonly number[],
  bytes: number,
  source: string,
): void {
  const needed = shape.reduce((product, extent) => product * extent, elements[dtype].size);
  if (needed !== bytes) {
    fail(
      source,
      `tensor \`${name}\` of ${dtype} [${shape.join(", ")}] takes ${needed} bytes, ` +
        `its data_offsets span ${bytes}`,
    );
  }
}

/** The format allows neither overlaps nor gaps: the ranges, in order, tile the data exactly. */
function checkRanges(ranges: readonly Range[], length: number, source: string): void {
  const inOrder = [...ranges].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let reached = 0;
  let last = "the header";
  for (const { name, begin, end } of inOrder) {
    if (begin < reached) fail(source, `tensor \`${name}\` overlaps ${last}`);
    if (begin > reached) {
      fail(source, `${begin - reached} unused bytes stand before tensor \`${name}\``);
    }
    if (end > length) {
      fail(
        source,
        `tensor \`${name}\` ends at byte ${end} of the data, which has only ${length}; ` +
          "the file is truncated",
      );
    }
    reached = end;
    last = `tensor \`${name}\``;
  }
  if (reached < length) fail(source, `${length - reached} bytes follow ${last}`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isStoredType(value: unknown): value is StoredType {
  return typeof value === "string" && Object.hasOwn(elements, value);
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}
