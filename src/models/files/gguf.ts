/**
 * GGUF, versions 2 and 3: a head of named values and of what each tensor is, and numbers from the end of all
 * of that on, rounded up to `general.alignment`. Tensors follow each other as they are listed.
 *
 * @module
 */

import { kindOf } from "../../check/words.ts";
import { cannot, checkEnd, openBytes } from "./bytes.ts";
import { type Cursor, readHead } from "./cursor.ts";
import { looksLike } from "./foreign.ts";
import {
  countOf,
  type PlacedEntry,
  type StoredDType,
  type WeightFile,
  weightFile,
} from "./weights.ts";

/** A value that a GGUF file has under a name. */
export type GgufValue =
  | number
  | boolean
  | string
  | readonly string[]
  | readonly boolean[]
  | Float32Array
  | Int32Array
  | readonly number[]
  | readonly GgufValue[];

/** Values by name. */
export type Metadata = ReadonlyMap<string, GgufValue>;

/** A GGUF file whose head was read. */
export interface GgufFile extends WeightFile {
  readonly format: "gguf";
  readonly metadata: Metadata;
}

type ReadValue = (cursor: Cursor, what: string) => GgufValue;

/** Kinds of values by their numbers in the file: bytes that one has at least, and what reads it. */
const kinds: readonly (readonly [bytes: number, read: ReadValue])[] = [
  [1, (cursor, what) => cursor.u8(what)],
  [1, (cursor, what) => cursor.i8(what)],
  [2, (cursor, what) => cursor.u16(what)],
  [2, (cursor, what) => cursor.i16(what)],
  [4, (cursor, what) => cursor.u32(what)],
  [4, (cursor, what) => cursor.i32(what)],
  [4, (cursor, what) => cursor.f32(what)],
  [1, (cursor, what) => cursor.u8(what) !== 0],
  [8, readText],
  [12, readArray],
  [8, (cursor, what) => cursor.u64(what)],
  [8, (cursor, what) => cursor.i64(what)],
  [8, (cursor, what) => cursor.f64(what)],
];

/** Their numbers where a reader asks for them. */
const u32Kind = 4, i32Kind = 5, f32Kind = 6, arrayKind = 9;

/** Arrays in arrays at most. */
const mostDepth = 4;

function readText(cursor: Cursor, what: string): string {
  return cursor.text(cursor.u64(what), what);
}

function kindAt(number: number, what: string): (typeof kinds)[number] {
  if (number < kinds.length) return kinds[number];
  throw new RangeError(`${cannot}: ${what} is of kind ${number}, which GGUF does not have`);
}

/** Reads a list; that its elements can be there is checked before one is read. */
function readArray(cursor: Cursor, what: string, depth = 1): GgufValue {
  const number = cursor.u32(what), count = cursor.u64(what), [bytes, read] = kindAt(number, what);
  cursor.need(count * bytes, `${what}, a list of ${count},`);
  if (number === arrayKind && depth === mostDepth) {
    throw new RangeError(`${cannot}: ${what} has lists in lists more than ${mostDepth} deep`);
  }
  const one = number === arrayKind
    ? () => readArray(cursor, what, depth + 1)
    : () => read(cursor, what);
  if (number === f32Kind) return Float32Array.from({ length: count }, one as () => number);
  if (number === i32Kind) return Int32Array.from({ length: count }, one as () => number);
  const list: GgufValue[] = [];
  for (let at = 0; at < count; at++) list.push(one());
  return list;
}

function readMetadata(cursor: Cursor, count: number): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  for (let at = 0; at < count; at++) {
    const name = readText(cursor, `the name of value ${at}`), what = JSON.stringify(name);
    if (metadata.has(name)) throw new RangeError(`${cannot}: ${what} is there twice`);
    const number = cursor.u32(what), [, read] = kindAt(number, what);
    if (name === alignmentName && number !== u32Kind) {
      throw new RangeError(`${cannot}: ${what} must be a u32, got kind ${number}`);
    }
    metadata.set(name, read(cursor, what));
  }
  return metadata;
}

const alignmentName = "general.alignment";

function alignmentOf(metadata: Metadata): number {
  const alignment = (metadata.get(alignmentName) ?? 32) as number; // Of its kind, or refused before.
  if (alignment > 0 && alignment % 8 === 0) return alignment;
  throw new RangeError(
    `${cannot}: \`${alignmentName}\` must be a multiple of 8, got ${kindOf(alignment)}`,
  );
}

/** How tensors are stored, by their numbers in the file: elements and bytes of a block. */
const storages: ReadonlyMap<number, readonly [name: string, elements: number, bytes: number]> =
  new Map([
    [0, ["f32", 1, 4]],
    [1, ["f16", 1, 2]],
    [2, ["q4_0", 32, 18]],
    [3, ["Q4_1", 32, 20]],
    [6, ["Q5_0", 32, 22]],
    [7, ["Q5_1", 32, 24]],
    [8, ["q8_0", 32, 34]],
    [9, ["Q8_1", 32, 36]],
    [10, ["Q2_K", 256, 84]],
    [11, ["Q3_K", 256, 110]],
    [12, ["Q4_K", 256, 144]],
    [13, ["Q5_K", 256, 176]],
    [14, ["Q6_K", 256, 210]],
    [15, ["Q8_K", 256, 292]],
    [16, ["IQ2_XXS", 256, 66]],
    [17, ["IQ2_XS", 256, 74]],
    [18, ["IQ3_XXS", 256, 98]],
    [19, ["IQ1_S", 256, 50]],
    [20, ["IQ4_NL", 32, 18]],
    [21, ["IQ3_S", 256, 110]],
    [22, ["IQ2_S", 256, 82]],
    [23, ["IQ4_XS", 256, 136]],
    [24, ["i8", 1, 1]],
    [25, ["I16", 1, 2]],
    [26, ["I32", 1, 4]],
    [27, ["I64", 1, 8]],
    [28, ["F64", 1, 8]],
    [29, ["IQ1_M", 256, 56]],
    [30, ["bf16", 1, 2]],
    [34, ["TQ1_0", 256, 54]],
    [35, ["TQ2_0", 256, 66]],
    [39, ["MXFP4", 32, 17]],
  ]);

/** What the file says of a tensor. */
interface TensorInfo {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: StoredDType | Uppercase<string>;
  /** Of its numbers; 0 for a storage that nobody knows. */
  readonly bytes: number;
  /** From where the numbers of all begin. */
  readonly offset: number;
}

/** Axes of a tensor at most. */
const mostAxes = 4;

function readInfo(cursor: Cursor, index: number): TensorInfo {
  const name = readText(cursor, `the name of tensor ${index}`), what = JSON.stringify(name);
  const wrong = (why: string) => new RangeError(`${cannot}: ${what} ${why}`);
  const axes = cursor.u32(what);
  if (axes > mostAxes) throw wrong(`has ${axes} axes, and at most ${mostAxes} are allowed`);
  // The file has the axis of neighbours first.
  const shape = Array.from({ length: axes }, () => cursor.u64(what)).reverse();
  const number = cursor.u32(what), offset = cursor.u64(what), count = countOf(shape);
  const [dtype, elements, bytes] = storages.get(number) ?? [`TYPE_${number}`, 1, 0];
  if (count === undefined) throw wrong(`of shape [${shape}] has countless elements`);
  if ((shape.at(-1) ?? 1) % elements !== 0) {
    throw wrong(`of shape [${shape}] is stored as ${dtype}, in blocks of ${elements} of a row`);
  }
  return {
    ...{ name, shape, dtype: dtype as TensorInfo["dtype"], offset },
    bytes: count / elements * bytes,
  };
}

function roundUp(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment;
}

/** Checks that tensors follow each other as they are listed; gives where the last ends. */
function checkOffsets(infos: readonly TensorInfo[], alignment: number): number {
  let end = 0, isKnown = true;
  for (const { name, offset, bytes, dtype } of infos) {
    const expected = roundUp(end, alignment);
    if (isKnown ? offset !== expected : !(offset >= expected) || offset % alignment !== 0) {
      throw new RangeError(
        `${cannot}: ${JSON.stringify(name)} begins at byte ${offset} of the numbers, ` +
          `where ${expected} is expected`,
      );
    }
    isKnown = !dtype.startsWith("TYPE_");
    end = offset + bytes;
  }
  return end;
}

interface Head {
  readonly metadata: Metadata;
  readonly infos: readonly TensorInfo[];
  readonly dataStart: number;
  readonly dataEnd: number;
}

/** Bytes of a value and of a tensor's information at least. */
const leastValue = 13, leastInfo = 24;

function parseHead(cursor: Cursor): Head {
  const magic = cursor.bytes(4, "the file's first word"), [text] = [String.fromCharCode(...magic)];
  if (text === "FUGG") throw bigEndian();
  if (text !== "GGUF") {
    throw new RangeError(`${cannot}: the file is no GGUF file${looksLike(magic)}`);
  }
  const version = cursor.u32("its version");
  if (version >>> 16 !== 0 && (version & 0xffff) === 0) throw bigEndian();
  if (version !== 2 && version !== 3) {
    throw new RangeError(
      `${cannot}: the GGUF file is of version ${version}, and versions 2 and 3 can be read` +
        (version === 1 ? ": convert it anew" : ""),
    );
  }
  const tensors = cursor.u64("the number of tensors"), values = cursor.u64("the number of values");
  cursor.need(
    tensors * leastInfo + values * leastValue,
    `a head of ${values} values and ${tensors} tensors`,
  );
  const metadata = readMetadata(cursor, values), alignment = alignmentOf(metadata);
  const infos: TensorInfo[] = [], names = new Set<string>();
  for (let index = 0; index < tensors; index++) {
    const info = readInfo(cursor, index);
    if (names.has(info.name)) {
      throw new RangeError(`${cannot}: ${JSON.stringify(info.name)} is there twice`);
    }
    names.add(info.name);
    infos.push(info);
  }
  const dataStart = roundUp(cursor.at, alignment), end = checkOffsets(infos, alignment);
  return { metadata, infos, dataStart, dataEnd: dataStart + end };
}

function bigEndian(): RangeError {
  return new RangeError(
    `${cannot}: the GGUF file is big-endian, and little-endian ones can be read: convert it anew`,
  );
}

/**
 * Opens a GGUF file: its head is read and checked, and no number.
 *
 * @throws {RangeError} When the file is cut off, lies, or is of another version or kind.
 */
export async function openGguf(given: unknown): Promise<GgufFile> {
  const source = openBytes(given), head = await readHead(source, parseHead);
  const { metadata, infos, dataStart, dataEnd } = head;
  if (infos.some(({ bytes }) => bytes > 0)) await checkEnd(source, dataEnd, false);
  const entries = new Map<string, PlacedEntry>(
    infos.map((info) => [info.name, { ...info, source, offset: dataStart + info.offset }]),
  );
  return { ...weightFile("gguf", entries), format: "gguf", metadata };
}
